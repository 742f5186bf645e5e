//! Charts as SVG, drawn here: they need no script, follow the colours of the style sheet, and say in words what they
//! show to whoever can't see them.

/// Bars side by side, each a stack of parts.
pub(super) struct Bars {
    pub width: f64,
    pub height: f64,
    pub bars: Vec<Bar>,
    /// Lines across, with their values: none in a small one.
    pub lines: Vec<Line>,
    /// Words below some of the bars.
    pub ticks: Vec<Tick>,
}

pub(super) struct Bar {
    pub parts: Vec<Part>,
    /// What it says when it is pointed at; "" for nothing.
    pub title: String,
    /// Where it leads; "" for nowhere.
    pub url: String,
}

/// A rectangle.
pub(super) struct Part {
    pub class: &'static str,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

pub(super) struct Line {
    pub y: f64,
    pub text: String,
}

pub(super) struct Tick {
    pub x: f64,
    pub text: String,
}

/// A column of a chart before it is drawn.
pub(super) struct Column {
    /// From the bottom up.
    pub parts: Vec<i64>,
    pub title: String,
    pub url: String,
    /// "" where there is no room for one.
    pub tick: String,
}

/// Room for the values at the left and the words below, in the chart's own units.
const LEFT: f64 = 40.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 8.0;

impl Bars {
    /// Without any words, for a row of a table.
    pub(super) fn small(columns: Vec<Vec<i64>>, classes: &[&'static str]) -> Bars {
        let columns: Vec<Column> = columns
            .into_iter()
            .map(|parts| Column { parts, title: String::new(), url: String::new(), tick: String::new() })
            .collect();
        let top = tallest(&columns).max(1);
        let (width, height) = (96.0, 24.0);
        let bars = draw(columns, classes, top, (0.0, 0.0, width, height)).0;
        Bars { width, height, bars, lines: Vec::new(), ticks: Vec::new() }
    }

    /// With values and words.
    pub(super) fn large(columns: Vec<Column>, classes: &[&'static str]) -> Bars {
        let (width, height) = (900.0, 220.0);
        let step = step(tallest(&columns));
        let top = (tallest(&columns).max(1) + step - 1) / step * step;
        let inner = (LEFT, ABOVE, width - LEFT, height - ABOVE - BELOW);
        let (bars, ticks) = draw(columns, classes, top, inner);
        let y = |value: i64| inner.1 + inner.3 * (1.0 - value as f64 / top as f64);
        let lines = (0..=top / step).map(|n| Line { y: y(n * step), text: (n * step).to_string() }).collect();
        Bars { width, height, bars, lines, ticks }
    }

    pub(super) fn has_something(&self) -> bool {
        self.bars.iter().any(|bar| !bar.parts.is_empty())
    }

    pub(super) fn left(&self) -> f64 {
        LEFT
    }
}

fn tallest(columns: &[Column]) -> i64 {
    columns.iter().map(|column| column.parts.iter().sum()).max().unwrap_or(0)
}

/// A round number so that four or five lines are enough.
fn step(top: i64) -> i64 {
    let mut step = 1;
    loop {
        for factor in [1, 2, 5] {
            if top <= step * factor * 5 {
                return step * factor;
            }
        }
        step *= 10;
    }
}

fn draw(
    columns: Vec<Column>,
    classes: &[&'static str],
    top: i64,
    (left, above, width, height): (f64, f64, f64, f64),
) -> (Vec<Bar>, Vec<Tick>) {
    let slot = width / columns.len().max(1) as f64;
    let gap = (slot * 0.18).min(6.0);
    let (mut bars, mut ticks) = (Vec::with_capacity(columns.len()), Vec::new());
    for (n, column) in columns.into_iter().enumerate() {
        let x = left + slot * n as f64;
        let mut y = above + height;
        let mut parts = Vec::new();
        for (value, class) in column.parts.iter().zip(classes).filter(|(value, _)| **value > 0) {
            let part = height * *value as f64 / top as f64;
            y -= part;
            parts.push(Part {
                class,
                x: round(x + gap / 2.0),
                y: round(y),
                width: round(slot - gap),
                height: round(part),
            });
        }
        if !column.tick.is_empty() {
            ticks.push(Tick { x: round(x + slot / 2.0), text: column.tick });
        }
        bars.push(Bar { parts, title: column.title, url: column.url });
    }
    (bars, ticks)
}

/// A tenth is enough, and keeps pages short.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_at_round_numbers_and_few() {
        for (top, wanted) in
            [(0, 1), (1, 1), (5, 1), (6, 2), (10, 2), (11, 5), (25, 5), (26, 10), (999, 200), (12_345, 5_000)]
        {
            assert_eq!(step(top), wanted, "{top}");
        }
    }

    #[test]
    fn parts_stand_on_each_other_within_the_chart() {
        let columns = vec![vec![3, 1], vec![0, 2], vec![0, 0]];
        let bars = Bars::small(columns, &["c1", "c5"]);
        let [first, second, third] = bars.bars.as_slice() else { panic!("three bars") };
        let [low, high] = first.parts.as_slice() else { panic!("two parts") };
        assert_eq!((low.class, low.y + low.height, high.y + high.height), ("c1", bars.height, low.y));
        assert_eq!((high.y, second.parts.len(), second.parts[0].class), (0.0, 1, "c5"));
        assert!(third.parts.is_empty());
    }

    #[test]
    fn the_tallest_column_stays_below_the_uppermost_line() {
        let column = |parts: Vec<i64>| Column {
            parts,
            title: String::new(),
            url: String::new(),
            tick: "x".to_owned(),
        };
        let bars = Bars::large(vec![column(vec![17]), column(vec![3])], &["c1"]);
        assert_eq!(bars.lines.last().map(|line| line.text.as_str()), Some("20"));
        assert!(bars.bars[0].parts[0].y > bars.lines.last().unwrap().y);
        assert_eq!(bars.ticks.len(), 2);
    }
}
