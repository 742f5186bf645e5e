//! How many visitors find no number free, beside what the formulas say. At the busiest hour's rate day and night, which
//! is what they are about; and once more in the busy hours of days as they are.

use calltracker::trackers::erlang;

use crate::desk::Policy;
use crate::model::Model;
use crate::product::Product;
use crate::report::{percent, say, title, verdict};
use crate::score::{self, Score};
use crate::simulation::{Asked, PER_HOUR, TARGET, offered, played};
use crate::traffic::{self, Curve, SCENARIOS, Traffic};

const MODEL_DAYS: u32 = 1000;
/// The product plays so many times the days that it plays of a case of credits.
const PRODUCT_DAYS: u32 = 6;
/// That the planner looks back.
const PLANNED_DAYS: [u32; 2] = [7, 28];
/// By which the prediction may be off, as a share of what is seen.
const OFF_MAX: f64 = 0.2;
/// A standard error beyond this share can't tell whether it is.
const ERROR_MAX: f64 = 0.1;

pub fn run(asked: Asked) -> anyhow::Result<()> {
    for (per_hour, curve) in
        [(PER_HOUR, Curve::Steady), (PER_HOUR / 3.0, Curve::Steady), (PER_HOUR, Curve::Day)]
    {
        let make = |days| traffic::make(SCENARIOS[0], curve, days, per_hour, asked.seed);
        let many = make(MODEL_DAYS);
        let offered = offered(&many)?;
        let recommended = erlang::numbers_for(offered, TARGET);
        let what = format!("{offered:.2} erlangs: {recommended} numbers for {}", percent(TARGET));
        title(&format!("blocking, {}", curve.name()), &what);
        let few = make(PRODUCT_DAYS * asked.days);
        for policy in [Policy::NoSwap, Policy::Reuse] {
            let (product, desk) = played(&few, recommended, policy, asked.seed)?;
            line("product", &few, recommended, policy, offered, &product);
            planned(&desk)?;
            for numbers in [recommended, recommended * 3 / 4] {
                let model = score::play(&many, &mut Model::new(numbers, policy))?;
                line("model", &many, numbers, policy, offered, &model);
            }
        }
    }
    Ok(())
}

/// What the product's planner would have said, which only knows what was asked of the pool.
fn planned(desk: &Product) -> anyhow::Result<()> {
    for days in PLANNED_DAYS {
        let plan = desk.plan(days, TARGET)?;
        let (offered, numbers) = (plan.offered, plan.recommended);
        say(&format!("  its planner, after {days} days: {offered:.2} erlangs, {numbers} numbers"));
    }
    Ok(())
}

fn line(player: &str, traffic: &Traffic, numbers: u32, policy: Policy, offered: f64, score: &Score) {
    let (formula, predicted) = match policy {
        Policy::NoSwap => ("blocking", erlang::blocking(offered, numbers)),
        Policy::Reuse => ("takeovers", erlang::takeovers(offered, numbers)),
    };
    let seen = score.blocked();
    let (off, error) = (predicted / seen.share - 1.0, seen.error / seen.share);
    let met = if error <= ERROR_MAX { verdict(off.abs() <= OFF_MAX) } else { "too few to tell" };
    say(&format!(
        "{player:8} {numbers} numbers, {} days, {policy:?}: {} of {} visits, within {:.1} %; {formula} {}, off by {:+.1} %, \
         target {:.0} %: {met}",
        traffic.days,
        percent(seen.share),
        seen.of,
        error * 100.0,
        percent(predicted),
        off * 100.0,
        OFF_MAX * 100.0,
    ));
}
