//! The plot: CPU microseconds per request, a group per workload, a bar per contender, proxy and Redis stacked.

use std::fmt::Write;

use super::results::{Figure, Results};

const LEFT: f64 = 56.0;
const TOP: f64 = 76.0;
const HEIGHT: f64 = 340.0;
const BAR: f64 = 24.0;
const GAP: f64 = 26.0;
const BOTTOM: f64 = 64.0;
const REDIS: &str = "#c9ccd1";
/// One colour per contender, distinguishable without telling red from green.
const COLOURS: [&str; 6] = ["#c9ccd1", "#e69f00", "#56b4e9", "#cc79a7", "#0072b2", "#004166"];

/// The whole SVG document.
pub(crate) fn plot(results: &Results) -> String {
    let bars = results.contenders.len() as f64;
    let group = bars * BAR + GAP;
    let width = (LEFT + group * results.workloads.len() as f64 + 16.0).max(900.0);
    let highest = heights(results).fold(1.0, f64::max);
    let step = tick_step(highest);
    let top_value = (highest * 1.06 / step).ceil() * step;
    let mut svg = String::new();
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "{line}");
    };
    let total = TOP + HEIGHT + BOTTOM;
    put(format_args!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {total:.0}" width="{width:.0}" height="{total:.0}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">"##
    ));
    put(format_args!(
        r##"<rect width="100%" height="100%" fill="#fff"/>"##
    ));
    put(format_args!(
        r#"<text x="{LEFT}" y="24" font-size="16" font-weight="bold">CPU microseconds per request: proxy (coloured) + Redis behind it (grey)</text>"#
    ));
    let mut x = LEFT;
    for (column, contender) in results.contenders.iter().enumerate() {
        let colour = COLOURS[column % COLOURS.len()];
        put(format_args!(
            r##"<rect x="{x:.0}" y="40" width="12" height="12" fill="{colour}" stroke="#555" stroke-width="0.5"/>"##
        ));
        put(format_args!(
            r#"<text x="{:.0}" y="50">{}</text>"#,
            x + 17.0,
            contender.title()
        ));
        x += 40.0 + 7.0 * contender.title().len() as f64;
    }
    let y_of = |value: f64| TOP + HEIGHT - value / top_value * HEIGHT;
    let ticks = (top_value / step).round() as u32;
    for tick in 0..=ticks {
        let value = f64::from(tick) * step;
        let y = y_of(value);
        put(format_args!(
            r##"<line x1="{LEFT}" x2="{:.0}" y1="{y:.1}" y2="{y:.1}" stroke="#e4e4e4"/><text x="{:.0}" y="{:.1}" text-anchor="end">{value:.0}</text>"##,
            width - 16.0,
            LEFT - 8.0,
            y + 4.0
        ));
    }
    for (index, rounds) in results.workloads.iter().enumerate() {
        let start = LEFT + GAP / 2.0 + group * index as f64;
        for column in 0..results.contenders.len() {
            let median = |figure| rounds.spread(column, figure).map_or(0.0, |spread| spread.median);
            let (proxy, redis) = (median(Figure::Proxy), median(Figure::Redis));
            let x = start + BAR * column as f64;
            let colour = COLOURS[column % COLOURS.len()];
            let (bottom, middle, top) = (y_of(0.0), y_of(redis), y_of(redis + proxy));
            let inner = BAR - 3.0;
            put(format_args!(
                r##"<rect x="{x:.1}" y="{middle:.1}" width="{inner}" height="{:.1}" fill="{REDIS}" stroke="#555" stroke-width="0.5"/>"##,
                bottom - middle
            ));
            put(format_args!(
                r##"<rect x="{x:.1}" y="{top:.1}" width="{inner}" height="{:.1}" fill="{colour}" stroke="#555" stroke-width="0.5"/>"##,
                middle - top
            ));
            put(format_args!(
                r#"<text x="{:.1}" y="{:.1}" font-size="9" text-anchor="middle">{:.1}</text>"#,
                x + inner / 2.0,
                top - 3.0,
                redis + proxy
            ));
        }
        let centre = start + BAR * bars / 2.0;
        // "GET 64 B, 50 clients, pipeline 16" in two lines.
        let title = rounds.workload.title;
        let (first, second) = title.split_once(", ").unwrap_or((title, ""));
        let y = TOP + HEIGHT + 18.0;
        put(format_args!(
            r#"<text x="{centre:.1}" y="{y:.0}" text-anchor="middle">{first}</text>"#
        ));
        put(format_args!(
            r#"<text x="{centre:.1}" y="{:.0}" text-anchor="middle">{second}</text>"#,
            y + 16.0
        ));
    }
    put(format_args!("</svg>"));
    svg
}

fn heights(results: &Results) -> impl Iterator<Item = f64> {
    results.workloads.iter().flat_map(|rounds| {
        (0..results.contenders.len())
            .filter_map(|column| rounds.spread(column, Figure::Sum))
            .map(|spread| spread.median)
    })
}

/// A round number that gives at most ten ticks.
fn tick_step(highest: f64) -> f64 {
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
    steps
        .into_iter()
        .find(|step| highest / step <= 10.0)
        .unwrap_or(1000.0)
}

#[cfg(test)]
mod tests {
    use super::super::peers::Contender;
    use super::super::results::tests::sample;
    use super::super::results::{Once, Rounds};
    use super::super::workload::WORKLOADS;
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (highest, step) in [(7.0, 1.0), (19.0, 2.0), (41.0, 5.0), (900.0, 100.0)] {
            assert!((tick_step(highest) - step).abs() < 1e-9, "{highest}");
        }
    }

    #[test]
    fn every_element_is_closed_and_every_bar_is_there() {
        let results = Results {
            contenders: vec![Contender::Direct, Contender::Ambassador],
            once: vec![Once::default(); 2],
            workloads: vec![Rounds {
                workload: WORKLOADS[0],
                rounds: vec![vec![sample(0.0, 9.0), sample(8.0, 3.0)]],
            }],
        };
        let svg = plot(&results);
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        // Background, a legend entry and two parts of a bar per contender.
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 2 * 2);
        assert!(
            svg.contains(">11.0</text>"),
            "the sum of the ambassador's bar stands on it"
        );
    }
}
