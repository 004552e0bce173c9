//! The titles of the charts and of their lines, in English and Russian.

use chassis::web::{Lang, flow::ChartWords};

pub(super) fn chart_words(lang: Lang) -> &'static ChartWords {
    match lang {
        Lang::En => &EN,
        Lang::Ru => &RU,
    }
}

static EN: ChartWords = ChartWords {
    charts: &[
        ("throughput", "Orders, events and rejections"),
        ("freshness", "From Kafka until the order can be read"),
        ("lag", "Lag: oldest record in work"),
        ("backlog", "Lag in records"),
        ("batch_time", "Writing a batch"),
        ("batch_size", "Records in a batch"),
        ("cache", "Orders answered from memory"),
        ("requests", "Requests"),
    ],
    series: &[
        ("orders", "orders"),
        ("events", "events"),
        ("rejections", "rejections"),
        ("freshness_p50", "median"),
        ("freshness_p99", "99th percentile"),
        ("lag", "age"),
        ("backlog", "records"),
        ("batch_time_p50", "median"),
        ("batch_time_p99", "99th percentile"),
        ("batch_size", "mean"),
        ("cache_hits", "share"),
        ("requests", "requests"),
        ("errors", "errors"),
    ],
};

static RU: ChartWords = ChartWords {
    charts: &[
        ("throughput", "Заказы, события и отклонённые записи"),
        ("freshness", "Из Kafka до готовности к чтению"),
        ("lag", "Отставание: самая старая запись"),
        ("backlog", "Отставание в записях"),
        ("batch_time", "Запись пакета"),
        ("batch_size", "Записей в пакете"),
        ("cache", "Заказы из памяти"),
        ("requests", "Запросы"),
    ],
    series: &[
        ("orders", "заказы"),
        ("events", "события"),
        ("rejections", "отклонено"),
        ("freshness_p50", "медиана"),
        ("freshness_p99", "99-й процентиль"),
        ("lag", "возраст"),
        ("backlog", "записи"),
        ("batch_time_p50", "медиана"),
        ("batch_time_p99", "99-й процентиль"),
        ("batch_size", "в среднем"),
        ("cache_hits", "доля"),
        ("requests", "запросы"),
        ("errors", "ошибки"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::CATALOGUE;

    #[test]
    fn every_chart_and_every_series_has_a_text() {
        for lang in Lang::ALL {
            chart_words(lang).assert_complete(&CATALOGUE);
        }
    }
}
