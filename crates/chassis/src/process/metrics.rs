//! The macro that defines metrics: the doc comment of a metric is its help text. And the time, for
//! gauges that hold the time of a measurement.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970.
#[must_use]
pub fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Defines a struct of metrics with a function `register`, which adds them to a registry.
///
/// A metric has a help text, a type and, after `=`, a name. A metric whose type has no default has
/// its initial value after `from`. A group of metrics has a type and, after `=>`, the function that
/// registers it.
///
/// ```text
/// struct ExampleMetrics {
///     commit: transaction::CommitMetrics => transaction::CommitMetrics::register,
///     /// Orders committed
///     orders: Counter = "waybill_orders_committed",
///     /// Items of an order
///     items: Histogram = "waybill_order_items" from Histogram::new(linear_buckets(1.0, 1.0, 9)),
/// }
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])?
                $field_visibility:vis $field:ident: $type:ty
                $(= $metric:literal $(from $first_value:expr)?)?
                $(=> $register_group:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $( $(#[doc = $help])? $field_visibility $field: $type, )*
        }

        impl $name {
            /// Adds the metrics to `registry`.
            $visibility fn register(registry: &mut ::prometheus_client::registry::Registry) -> Self {
                Self {
                    $( $field: $crate::metrics!(
                        @register registry, $type
                        $(, $help, $metric $(, $first_value)?)?
                        $(=> $register_group)?
                    ), )*
                }
            }
        }
    };
    (@register $registry:ident, $type:ty, $help:literal, $metric:literal) => {
        $crate::metrics!(@register $registry, $type, $help, $metric, <$type>::default())
    };
    (@register $registry:ident, $type:ty, $help:literal, $metric:literal, $first_value:expr) => {{
        let metric: $type = $first_value;
        $registry.register($metric, $help.trim_start(), metric.clone());
        metric
    }};
    (@register $registry:ident, $type:ty => $register_group:expr) => {{
        let register: fn(&mut ::prometheus_client::registry::Registry) -> $type = $register_group;
        register($registry)
    }};
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        encoding::text::encode,
        metrics::{
            counter::Counter,
            family::Family,
            histogram::{Histogram, linear_buckets},
        },
        registry::Registry,
    };

    type Labels = [(&'static str, &'static str); 1];

    crate::metrics! {
        struct ExampleGroup {
            /// Batches written
            batches: Counter = "batches",
        }
    }

    crate::metrics! {
        struct ExampleMetrics {
            group: ExampleGroup => |registry| ExampleGroup::register(registry.sub_registry_with_prefix("status")),
            /// Orders, by status
            orders: Family<Labels, Counter> = "orders",
            /// Items of an order
            items: Histogram = "items" from Histogram::new(linear_buckets(1.0, 1.0, 1)),
        }
    }

    #[test]
    fn the_doc_comment_of_a_metric_is_its_help_text() {
        let mut registry = Registry::default();
        let metrics = ExampleMetrics::register(&mut registry);
        metrics.group.batches.inc();
        metrics.orders.get_or_create(&[("status", "created")]).inc();
        metrics.items.observe(2.0);

        let mut text = String::new();
        encode(&mut text, &registry).unwrap();

        for line in [
            "# HELP status_batches Batches written.",
            "status_batches_total 1",
            "# HELP orders Orders, by status.",
            "orders_total{status=\"created\"} 1",
            "# HELP items Items of an order.",
            "items_bucket{le=\"1.0\"} 0",
            "items_count 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }
}
