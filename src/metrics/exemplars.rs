//! Exemplars: beside each bucket of a latency histogram the last recorded trace that fell into it, so that a slow minute
//! leads to somebody whose message was slow. The SDK keeps none (opentelemetry_sdk 0.33 has a place for them that nothing
//! fills), and they have no place in Prometheus' own text format: whoever asks for OpenMetrics gets them.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use parking_lot::Mutex;

/// The id of a trace that is recorded.
pub type TraceId = [u8; 16];

/// How many series of one histogram have exemplars; there are fewer.
const SERIES: usize = 256;

/// Those of one histogram.
#[derive(Debug)]
pub(super) struct Exemplars {
    /// The beginning of its buckets' lines.
    begin: &'static str,
    bounds: &'static [f64],
    series: Mutex<Vec<Series>>,
}

/// One for each bound, and one for what is over them all.
#[derive(Debug)]
struct Series {
    /// As they stand in a line: `name="value"`.
    labels: Vec<String>,
    last: Vec<Option<Exemplar>>,
}

#[derive(Debug, Clone, Copy)]
struct Exemplar {
    trace: TraceId,
    seconds: f64,
    at: Duration,
}

impl Exemplars {
    pub const fn new(begin: &'static str, bounds: &'static [f64]) -> Self {
        Self {
            begin,
            bounds,
            series: Mutex::new(Vec::new()),
        }
    }

    /// Keeps the trace, if there is one, for the series of these attributes.
    pub fn keep(&self, took: Duration, of: &[KeyValue], trace: Option<TraceId>) {
        let Some(trace) = trace else { return };
        let label = |of: &KeyValue| format!("{}=\"{}\"", of.key.as_str().replace('.', "_"), of.value);
        let labels: Vec<String> = of.iter().map(label).collect();
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut all = self.series.lock();
        let known = all.iter().position(|series| series.labels == labels);
        let series = known.unwrap_or(all.len());
        if known.is_none() && series < SERIES {
            let last = vec![None; self.bounds.len() + 1];
            all.push(Series { labels, last });
        }
        if let Some(last) = all.get_mut(series).and_then(|series| series.last.get_mut(bucket)) {
            *last = Some(Exemplar { trace, seconds, at });
        }
    }

    /// What stands behind this line; `None`: nothing.
    fn of_line(&self, line: &str) -> Option<String> {
        let labels = line.strip_prefix(self.begin)?;
        let (_, rest) = labels.split_once("le=\"")?;
        let (bound, _) = rest.split_once('"')?;
        let bound: f64 = bound.parse().ok()?;
        let bucket = self.bounds.partition_point(|other| *other < bound);
        let count = labels.matches("=\"").count() - 1;
        let all = self.series.lock();
        let series = all.iter().find(|series| {
            series.labels.len() == count && series.labels.iter().all(|label| labels.contains(label.as_str()))
        });
        let Exemplar { trace, seconds, at } = (*series?.last.get(bucket)?)?;
        let trace = uuid::Uuid::from_bytes(trace).simple();
        Some(format!(
            " # {{trace_id=\"{trace}\"}} {seconds} {:.3}",
            at.as_secs_f64()
        ))
    }
}

/// Prometheus' text as OpenMetrics 1.0, with the exemplars. They differ in the names of counters' families, in what is escaped
/// in a help text, and in the end.
pub(super) fn openmetrics(text: &str, exemplars: &[Exemplars]) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut lines = text.lines().peekable();
    // Writing into a String cannot fail.
    while let Some(line) = lines.next() {
        let _ = match family(line) {
            Some(("HELP", name, help)) => {
                let next = lines.peek().and_then(|next| family(next));
                let counter = matches!(next, Some(("TYPE", _, "counter")));
                writeln!(
                    out,
                    "# HELP {} {}",
                    of_family(name, counter),
                    help.replace('"', "\\\"")
                )
            }
            Some((_, name, kind)) => {
                writeln!(out, "# TYPE {} {kind}", of_family(name, kind == "counter"))
            }
            None => {
                let exemplar = exemplars.iter().find_map(|of| of.of_line(line));
                writeln!(out, "{line}{}", exemplar.unwrap_or_default())
            }
        };
    }
    out.push_str("# EOF\n");
    out
}

/// `HELP` or `TYPE`, the family's name, and the rest of such a line.
fn family(line: &str) -> Option<(&str, &str, &str)> {
    let rest = line.strip_prefix("# ")?;
    let (what, rest) = rest.split_once(' ')?;
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    matches!(what, "HELP" | "TYPE").then_some((what, name, rest))
}

fn of_family(name: &str, counter: bool) -> &str {
    match counter {
        true => name.strip_suffix("_total").unwrap_or(name),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Some \"a\".
# TYPE a_total counter
a_total{b=\"c\"} 3
# HELP d_seconds How long.
# TYPE d_seconds histogram
d_seconds_bucket{o=\"x\",le=\"0.5\"} 1
d_seconds_bucket{o=\"y\",le=\"0.5\"} 1
d_seconds_bucket{o=\"y\",le=\"2\"} 2
d_seconds_bucket{o=\"y\",le=\"+Inf\"} 2
d_seconds_count{o=\"y\"} 2
";

    #[test]
    fn a_bucket_has_the_last_trace_that_fell_into_it() {
        let exemplars = Exemplars::new("d_seconds_bucket{", &[0.5, 2.0]);
        let of = [KeyValue::new("o", "y")];
        exemplars.keep(Duration::from_millis(700), &of, Some([1; 16]));
        exemplars.keep(Duration::from_millis(800), &of, Some([2; 16]));
        exemplars.keep(Duration::from_millis(900), &of, None);
        exemplars.keep(Duration::from_secs(3), &of, Some([3; 16]));
        exemplars.keep(Duration::from_millis(1), &[], Some([4; 16]));
        let shown = openmetrics(TEXT, &[exemplars]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "# HELP a Some \\\"a\\\".");
        assert_eq!(lines[1], "# TYPE a counter");
        assert_eq!(lines[2], "a_total{b=\"c\"} 3");
        assert_eq!(lines[5], "d_seconds_bucket{o=\"x\",le=\"0.5\"} 1");
        assert_eq!(lines[6], "d_seconds_bucket{o=\"y\",le=\"0.5\"} 1");
        let second =
            "d_seconds_bucket{o=\"y\",le=\"2\"} 2 # {trace_id=\"02020202020202020202020202020202\"} 0.8 ";
        assert!(lines[7].starts_with(second), "{}", lines[7]);
        assert!(lines[8].contains("# {trace_id=\"0303"), "{}", lines[8]);
        assert_eq!((lines[9], lines[10]), ("d_seconds_count{o=\"y\"} 2", "# EOF"));
    }
}
