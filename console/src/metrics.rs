//! The Prometheus text exposition format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// The format's media type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Samples by metric, because all samples of one metric have to stand together, and by labels, because none may stand twice (the later counts).
#[derive(Default)]
pub(crate) struct Exposition {
    metrics: BTreeMap<String, BTreeMap<String, String>>,
}

impl Exposition {
    /// Adds `strowger_<role>_<metric>{labels} value`.
    pub(crate) fn add(&mut self, role: &str, metric: &str, labels: &[(&str, &str)], value: impl Display) {
        let name = format!("strowger_{}_{}", name_part(role), name_part(metric));
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        self.metrics.entry(name).or_default().insert(labels.join(","), value.to_string());
    }

    /// The text. What only grows and what also falls is not known here, so that no type is claimed.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, samples) in &self.metrics {
            let _ = writeln!(text, "# TYPE {name} untyped"); // writing to a string does not fail
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
        text
    }
}

/// What a metric's name may hold: letters, digits, underscores.
fn name_part(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A label's value: backslash, quote and line feed are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_of_one_metric_stand_together_and_once() {
        let mut metrics = Exposition::default();
        metrics.add("gateway", "calls_now", &[("instance", "2001")], 1);
        metrics.add("proxy", "calls_now", &[("instance", "proxy")], 3);
        metrics.add("gateway", "calls_now", &[("instance", "2002")], 2);
        metrics.add("gateway", "calls_now", &[("instance", "2001")], 4);
        assert_eq!(
            metrics.to_text(),
            "# TYPE strowger_gateway_calls_now untyped\n\
             strowger_gateway_calls_now{instance=\"2001\"} 4\n\
             strowger_gateway_calls_now{instance=\"2002\"} 2\n\
             # TYPE strowger_proxy_calls_now untyped\n\
             strowger_proxy_calls_now{instance=\"proxy\"} 3\n"
        );
    }

    proptest! {
        #[test]
        fn any_text_makes_one_well_formed_line(role in ".*", metric in ".*", instance in ".*", value: u64) {
            let mut metrics = Exposition::default();
            metrics.add(&role, &metric, &[("instance", &instance)], value);
            let text = metrics.to_text();
            let lines: Vec<_> = text.split_terminator('\n').collect();
            prop_assert_eq!(lines.len(), 2);
            let (name, rest) = lines[1].split_once("{instance=\"").unwrap();
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            let value_text = format!("\"}} {value}");
            let label = rest.strip_suffix(&value_text).unwrap();
            prop_assert_eq!(label.replace("\\\\", "").replace("\\\"", "").replace("\\n", "").contains('"'), false);
        }
    }
}
