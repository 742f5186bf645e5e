//! `simulation`: visitors, the numbers that they are given and the calls that they make, over days of the clock's time.
//! The product plays some days of each case; the model of it must have done the same in every one of them, and then
//! plays enough days to tell shares apart.

use anyhow::ensure;
use calltracker::trackers::erlang;

use crate::blocking;
use crate::calibration::{self, Bin};
use crate::desk::Policy;
use crate::model::Model;
use crate::product::Product;
use crate::report::{percent, say, title, verdict};
use crate::score::{self, Score};
use crate::traffic::{self, Curve, DAY, SCENARIOS, Scenario, Traffic};

/// New visitors in the busiest hour. With those who return it loads a pool with some thirty erlangs.
pub const PER_HOUR: f64 = 32.0;
/// Of the visitors, those who may find no number free.
pub const TARGET: f64 = 0.01;
const RIGHT_MIN: f64 = 0.99;
const CALIBRATION_MAX: f64 = 0.05;
/// Enough for any visitor of [`PER_HOUR`].
const ENDLESS: u32 = 400;
/// The model's days: some 39 000 calls.
const MODEL_DAYS: u32 = 1500;

/// Sizes beside the recommended one, in percent of it.
const SIZES: [u32; 4] = [50, 75, 100, 150];
const RECOMMENDED: u32 = 100;

/// What is asked for on the command line.
#[derive(Clone, Copy)]
pub struct Asked {
    pub seed: u64,
    /// That the product plays of each case; four times as many of the recommended size.
    pub days: u32,
}

pub fn run(asked: Asked) -> anyhow::Result<()> {
    for scenario in SCENARIOS {
        credits(scenario, asked)?;
    }
    blocking::run(asked)
}

fn credits(scenario: Scenario, asked: Asked) -> anyhow::Result<()> {
    let make = |days| traffic::make(scenario, Curve::Day, days, PER_HOUR, asked.seed);
    let many = make(MODEL_DAYS);
    let offered = offered(&many)?;
    let recommended = erlang::numbers_for(offered, TARGET);
    let what =
        format!("{offered:.1} erlangs in the busy hours: {recommended} numbers for {}", percent(TARGET));
    title(&format!("credits, {}", scenario.name), &what);
    say("         numbers  days  calls   right          given on  ambiguous  their error  error   blocked");
    for size in SIZES {
        let numbers = (recommended * size).div_ceil(100);
        let days = if size == RECOMMENDED { 4 * asked.days } else { asked.days };
        let few = make(days);
        let (product, _) = played(&few, numbers, Policy::Reuse, asked.seed)?;
        row("product", numbers, days, &product);
        let model = score::play(&many, &mut Model::new(numbers, Policy::Reuse))?;
        row("model", numbers, MODEL_DAYS, &model);
        table(&model);
        if size == RECOMMENDED {
            targets(&product, &model);
        }
    }
    Ok(())
}

/// What the product makes of it, and the product after that. The model must have made the same of it.
pub fn played(
    traffic: &Traffic,
    numbers: u32,
    policy: Policy,
    seed: u64,
) -> anyhow::Result<(Score, Product)> {
    let mut desk = Product::new(numbers, policy, seed)?;
    let product = score::play(traffic, &mut desk)?;
    let model = score::play(traffic, &mut Model::new(numbers, policy))?;
    let seat = product.seats.iter().zip(&model.seats).position(|(a, b)| a != b);
    ensure!(seat.is_none(), "visit {seat:?} got another number from the product than its rules say");
    let call = product.calls.iter().zip(&model.calls).find(|(a, b)| !a.is_like(b));
    ensure!(call.is_none(), "a call was credited otherwise than the rules say: {call:?}");
    Ok((product, desk))
}

/// The load of the busy hours in erlangs: how many numbers are held on average in a pool that never lacks one.
pub fn offered(traffic: &Traffic) -> anyhow::Result<f64> {
    let mut model = Model::new(ENDLESS, Policy::Reuse);
    score::play(traffic, &mut model)?;
    let held = model.held_hours(|at| traffic.curve.is_busy(at), DAY * traffic.days);
    Ok(held / traffic.busy_hours())
}

fn row(player: &str, numbers: u32, days: u32, score: &Score) {
    let right = score.calls_that(|call| call.right);
    let unsure = score.calls.iter().filter(|call| call.confidence < 1.0);
    say(&format!(
        "{player:8} {numbers:6}  {days:4}  {:5}  {:>8} ±{:.2}  {:>8}  {:>9}  {:11.3}  {:.4}  {:>7}",
        right.of,
        percent(right.share),
        right.error * 100.0,
        percent(score.calls_that(|call| call.given_on).share),
        percent(score.calls_that(|call| call.confidence < 1.0).share),
        calibration::error(&calibration::bins(unsure)),
        calibration::error(&calibration::bins(&score.calls)),
        percent(score.blocked().share),
    ));
}

fn targets(product: &Score, model: &Score) {
    for (player, score) in [("product", product), ("model", model)] {
        let right = score.calls_that(|call| call.right).share;
        let off = calibration::error(&calibration::bins(&score.calls));
        say(&format!(
            "{player}: {} right, target {}: {}; calibration error {off:.4}, target {CALIBRATION_MAX}: {}",
            percent(right),
            percent(RIGHT_MIN),
            verdict(right >= RIGHT_MIN),
            verdict(off <= CALIBRATION_MAX)
        ));
    }
}

/// What was said beside what was right, for each tenth that has calls.
fn table(score: &Score) {
    let bins = calibration::bins(&score.calls);
    let cell = |bin: &Bin| format!("{:.3} {:.3} ({})", bin.said(), bin.right(), bin.calls);
    let cells: Vec<String> = bins.iter().filter(|bin| bin.calls > 0).map(cell).collect();
    say(&format!("  said, right, calls: {}", cells.join(", ")));
}
