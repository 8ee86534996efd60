//! Writes metrics of one name with their labels; the thin layer over the exposition library.

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::stats::LATENCY_BOUNDS_US;

const MICROSECONDS: f64 = 1e6;

/// Where metrics are written to.
pub(super) struct Writer<'a, 'b>(pub(super) &'a mut DescriptorEncoder<'b>);

impl Writer<'_, '_> {
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    /// A counter of seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> Result<(), std::fmt::Error> {
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    pub(super) fn counters<L: AsRef<str>, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = ([L; N], u64)>,
        labels: [&str; N],
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (values, n) in values {
            let set = pair(labels, &values);
            metric
                .encode_family(&set)?
                .encode_counter::<NoLabelSet, u64, u64>(&n, None)?;
        }
        Ok(())
    }

    pub(super) fn gauges<L: AsRef<str>, V: EncodeGaugeValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = ([L; N], V)>,
        labels: [&str; N],
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (values, n) in values {
            let set = pair(labels, &values);
            metric.encode_family(&set)?.encode_gauge(&n)?;
        }
        Ok(())
    }

    /// Latencies by node, in seconds; counts per bucket, the last one without an upper bound.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (String, Vec<u64>, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (node, counts, sum_us) in values {
            // The library adds the buckets up.
            let bounds = LATENCY_BOUNDS_US
                .iter()
                .map(|us| *us as f64 / MICROSECONDS)
                .chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
            let set = [("node", node.as_str())];
            metric.encode_family(&set)?.encode_histogram::<NoLabelSet>(
                sum_us as f64 / MICROSECONDS,
                counts.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

fn pair<'a, L: AsRef<str>, const N: usize>(
    labels: [&'a str; N],
    values: &'a [L; N],
) -> [(&'a str, &'a str); N] {
    std::array::from_fn(|index| (labels[index], values[index].as_ref()))
}
