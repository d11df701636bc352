//! A plot as SVG: both axes logarithmic, each line labelled where it ends.
//!
//! Owns shapes and colours. Readable on a light and on a dark page without knowing which it is: middle tones, nothing
//! behind them. Must not know what is plotted.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
/// Room for the labels of the lines.
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;
/// Labels stand at least so far from each other.
const LABEL_PITCH: f64 = 16.0;
const TEXT: &str = "#768390";
const COLOURS: [&str; 6] = ["#e5534b", "#4184e4", "#46954a", "#ae7c14", "#986ee2", "#768390"];

/// One line of a plot.
pub(crate) struct Series {
    pub(crate) label: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A range of powers of ten on so many pixels.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, whole_decades: bool, start: f64, end: f64) -> Axis {
        let logs: Vec<f64> = values.map(f64::log10).collect();
        let mut low = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let mut high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if whole_decades {
            (low, high) = (low.floor(), high.ceil());
        }
        Axis { low, high: if high > low { high } else { low + 1.0 }, start, end }
    }

    fn at(&self, value: f64) -> f64 {
        self.start + (value.log10() - self.low) / (self.high - self.low) * (self.end - self.start)
    }
}

/// The plot. Points that a logarithm does not like are left out; with no points at all there is no plot.
pub(crate) fn svg(title: &str, x_title: &str, series: &[Series]) -> Option<String> {
    let drawable = |&&(x, y): &&(f64, f64)| x > 0.0 && y > 0.0;
    let points = || series.iter().flat_map(|one| &one.points).filter(drawable);
    points().next()?;
    let x = Axis::over(points().map(|point| point.0), false, LEFT, WIDTH - RIGHT);
    let y = Axis::over(points().map(|point| point.1), true, HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"{TEXT}\">\n<title>{title}</title>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x_title}</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0,
    );
    grid(&mut svg, &x, &y, points().map(|point| point.0).collect());
    let mut ends = Vec::new();
    for (index, one) in series.iter().enumerate() {
        let path: Vec<_> = one.points.iter().filter(drawable).map(|&(px, py)| (x.at(px), y.at(py))).collect();
        let Some(&(_, end)) = path.last() else { continue };
        line(&mut svg, &path, COLOURS[index % COLOURS.len()], index == 0);
        ends.push((end, one.label, COLOURS[index % COLOURS.len()]));
    }
    labels(&mut svg, ends);
    svg.push_str("</svg>\n");
    Some(svg)
}

fn grid(svg: &mut String, x: &Axis, y: &Axis, mut sizes: Vec<f64>) {
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let (left, right) = (LEFT, WIDTH - RIGHT);
    for decade in y.low as i32..=y.high as i32 {
        let (value, at) = (10_f64.powi(decade), y.at(10_f64.powi(decade)));
        put(
            svg,
            &format!(
                "<path d=\"M{left} {at:.1}H{right}\" stroke=\"{TEXT}\" stroke-opacity=\".3\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                short(value)
            ),
        );
    }
    for size in sizes {
        let (at, below) = (x.at(size), HEIGHT - BOTTOM + 16.0);
        put(svg, &format!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", short(size)));
    }
}

/// Ours is the first, and thicker.
fn line(svg: &mut String, path: &[(f64, f64)], colour: &str, ours: bool) {
    let width = if ours { 3.0 } else { 1.5 };
    let points: Vec<_> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(
        svg,
        &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            points.join(" ")
        ),
    );
    for (x, y) in path {
        put(svg, &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
    }
}

/// Beside the ends of the lines, pushed apart where these are close.
fn labels(svg: &mut String, mut ends: Vec<(f64, &str, &str)>) {
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = TOP;
    for (end, label, colour) in ends {
        let at = end.max(free);
        free = at + LABEL_PITCH;
        put(
            svg,
            &format!(
                "<text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\" font-weight=\"bold\">{label}</text>",
                WIDTH - RIGHT + 10.0,
                at + 4.0
            ),
        );
    }
}

fn put(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("a String takes text");
}

/// `1k`, `10M`, `0.1`.
fn short(value: f64) -> String {
    match value {
        millions if millions >= 1e6 => format!("{}M", millions / 1e6),
        thousands if thousands >= 1e3 => format!("{}k", thousands / 1e3),
        value => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_line_and_a_label_for_each_series_with_points() {
        let ours = Series { label: "ours", points: vec![(1.0, 10.0), (8.0, 1000.0)] };
        let empty = Series { label: "absent", points: Vec::new() };
        let plot = svg("title", "in flight", &[ours, empty]).unwrap();
        assert_eq!(plot.matches("<polyline").count(), 1, "{plot}");
        assert!(plot.contains(">ours</text>") && !plot.contains("absent"), "{plot}");
        assert!(plot.contains(">1k</text>"), "the axis says its decades: {plot}");
        assert!(!plot.contains("NaN") && !plot.contains("inf"), "{plot}");
    }

    #[test]
    fn labels_of_lines_that_end_at_one_place_do_not_cover_each_other() {
        let same = |label| Series { label, points: vec![(1.0, 10.0), (8.0, 10.0)] };
        let plot = svg("title", "x", &[same("a"), same("b")]).unwrap();
        let height = |label: &str| {
            let before = plot.split(&format!(">{label}</text>")).next().unwrap();
            let (_, y) = before.rsplit_once(" y=\"").unwrap();
            y.split('"').next().unwrap().parse::<f64>().unwrap()
        };
        assert!((height("a") - height("b")).abs() >= LABEL_PITCH);
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        assert_eq!(svg("title", "x", &[Series { label: "ours", points: Vec::new() }]), None);
    }
}
