//! `classify`: how many visits' sources are found out in a second of one core's time.

use std::hint::black_box;

use calltracker::visits::source::classify;

use crate::cpu;
use crate::report::{say, title, verdict};

const ROUNDS: u32 = 200_000;
const PER_S_MIN: f64 = 1e6;

/// Pages and what led to them, as they come: the long ones with many parameters are the ads'.
const VISITS: [(&str, &str); 8] = [
    ("https://www.example.com/", ""),
    ("https://www.example.com/services/boilers", "https://www.google.com/"),
    (
        "https://www.example.com/?gclid=EAIaIQobChMIx7mN5p2K_QIVj4BQBh0SgQ2fEAAYASAAEgJ1x_D_BwE&utm_source=google\
         &utm_medium=cpc&utm_campaign=plumbers-east&utm_term=emergency%20plumber&utm_content=ad-3",
        "https://www.google.com/",
    ),
    ("https://www.example.com/contact", "https://duckduckgo.com/"),
    ("https://www.example.com/offer?utm_source=newsletter&utm_medium=email&utm_campaign=may", ""),
    (
        "https://www.example.com/?fbclid=IwAR2F4-dbP0l7Mn1IawQQGCINEz7PYXQvwjNwB_qa2ofrHyiLjcbCRxTDMgk",
        "https://l.facebook.com/",
    ),
    ("https://www.example.com/prices", "https://www.bing.com/search?q=plumber+near+me&form=QBLH"),
    ("https://www.example.com/blog/frozen-pipes", "https://forum.example.org/t/frozen-pipes/1234"),
];

pub fn run() {
    title("classify", "sources of visits found out on one core, eight kinds of page and referrer in turn");
    // Whatever is made at the first use.
    black_box(classify("https://www.example.com/", "https://www.google.com/"));
    let before = cpu::own();
    for _ in 0..ROUNDS {
        for (page, referrer) in VISITS {
            black_box(classify(black_box(page), black_box(referrer)));
        }
    }
    let count = f64::from(ROUNDS) * VISITS.len() as f64;
    let per_s = count / cpu::own().saturating_sub(before).as_secs_f64();
    let met = verdict(per_s > PER_S_MIN);
    say(&format!("{:.2} million/s, {:.0} ns each, target over 1 million/s: {met}", per_s / 1e6, 1e9 / per_s));
}
