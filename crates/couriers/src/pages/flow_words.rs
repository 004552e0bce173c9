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
        ("throughput", "Events, assignments and rejections"),
        ("queue", "Orders without a courier"),
        ("oldest_wait", "Longest wait for a courier"),
        ("deliveries", "Active deliveries"),
        ("couriers", "Couriers"),
        ("on_time", "Deliveries on time, last hour"),
        ("outbox", "Delivery events not sent yet"),
        ("oldest_unsent", "Oldest event not sent yet"),
        ("lag", "Lag: oldest record in work"),
        ("backlog", "Lag in records"),
        ("requests", "Requests"),
    ],
    series: &[
        ("events", "events"),
        ("assignments", "assignments"),
        ("rejections", "rejections"),
        ("waiting", "waiting"),
        ("held", "held"),
        ("released", "released"),
        ("oldest_wait", "wait"),
        ("active", "active"),
        ("overdue", "overdue"),
        ("busy", "busy"),
        ("available", "free"),
        ("paused", "paused"),
        ("on_time", "on time"),
        ("unsent", "events"),
        ("oldest_unsent", "age"),
        ("lag", "age"),
        ("backlog", "records"),
        ("requests", "requests"),
        ("errors", "errors"),
    ],
};

static RU: ChartWords = ChartWords {
    charts: &[
        ("throughput", "События, назначения и отклонённые записи"),
        ("queue", "Заказы без курьера"),
        ("oldest_wait", "Самое долгое ожидание курьера"),
        ("deliveries", "Активные доставки"),
        ("couriers", "Курьеры"),
        ("on_time", "Доставлено вовремя за последний час"),
        ("outbox", "Неотправленные события доставок"),
        ("oldest_unsent", "Самое старое неотправленное событие"),
        ("lag", "Отставание: самая старая запись"),
        ("backlog", "Отставание в записях"),
        ("requests", "Запросы"),
    ],
    series: &[
        ("events", "события"),
        ("assignments", "назначения"),
        ("rejections", "отклонено"),
        ("waiting", "ждут"),
        ("held", "отложены"),
        ("released", "сняты после срока"),
        ("oldest_wait", "ожидание"),
        ("active", "активны"),
        ("overdue", "просрочены"),
        ("busy", "везут заказ"),
        ("available", "свободны"),
        ("paused", "на паузе"),
        ("on_time", "вовремя"),
        ("unsent", "события"),
        ("oldest_unsent", "возраст"),
        ("lag", "возраст"),
        ("backlog", "записи"),
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
