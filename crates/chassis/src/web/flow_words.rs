//! The texts of the flow page that both services share.

use serde::Serialize;

use super::Lang;
use crate::flow::MarkKind;

/// The texts of the flow page. The page contains those that its script shows as JSON.
#[derive(Debug)]
pub struct FlowWords {
    pub title: &'static str,
    pub ranges: &'static str,
    pub last_15_minutes: &'static str,
    pub last_24_hours: &'static str,
    pub last_7_days: &'static str,
    /// Before and after the time of the start.
    pub since: [&'static str; 2],
    pub of_replica: &'static str,
    pub of_whole: &'static str,
    pub table: &'static str,
    pub line: &'static str,
    pub newest: &'static str,
    pub mean: &'static str,
    pub minimum: &'static str,
    pub maximum: &'static str,
    pub routes: &'static str,
    pub routes_text: &'static str,
    pub route: &'static str,
    pub requests: &'static str,
    pub errors: &'static str,
    pub no_requests: &'static str,
    pub other_routes: &'static str,
    pub events: &'static str,
    pub events_text: &'static str,
    pub needs_script: &'static str,
    pub live: LiveFlowWords,
}

/// The texts that the script of the flow page shows.
#[derive(Debug, Serialize)]
pub struct LiveFlowWords {
    pub seconds: &'static str,
    pub milliseconds: &'static str,
    pub per_second: &'static str,
    pub replica: &'static str,
    time: &'static str,
    samples: &'static str,
    /// The description of a chart for screen readers.
    chart: &'static str,
    all_routes: &'static str,
    rejected: &'static str,
    cut: &'static str,
    back: &'static str,
    unreachable: &'static str,
    restarted: &'static str,
    pub lasts: &'static str,
    start: MarkWords,
    postgres: MarkWords,
    kafka: MarkWords,
    redis: MarkWords,
    blocked: MarkWords,
    rebalance: MarkWords,
    gap: MarkWords,
}

/// The texts of a kind of mark: in a chart, and in the list.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MarkWords {
    pub short: &'static str,
    pub long: &'static str,
}

impl FlowWords {
    #[must_use]
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Ru => &RU,
        }
    }

    #[must_use]
    pub fn mark(&self, kind: MarkKind) -> MarkWords {
        let LiveFlowWords { start, postgres, kafka, redis, blocked, rebalance, gap, .. } =
            self.live;
        match kind {
            MarkKind::Start => start,
            MarkKind::Postgres => postgres,
            MarkKind::Kafka => kafka,
            MarkKind::Redis => redis,
            MarkKind::Blocked => blocked,
            MarkKind::Rebalance => rebalance,
            MarkKind::Gap => gap,
        }
    }
}

static EN: FlowWords = FlowWords {
    title: "Flow",
    ranges: "Range of time",
    last_15_minutes: "15 minutes",
    last_24_hours: "24 hours",
    last_7_days: "7 days",
    since: ["Samples since ", ", when this replica started."],
    of_replica: "this replica",
    of_whole: "the whole service",
    table: "Table: {}",
    line: "Value",
    newest: "Newest",
    mean: "Mean",
    minimum: "Minimum",
    maximum: "Maximum",
    routes: "Requests by route",
    routes_text: "The mean of this range. Errors are answers with a status from 500 on.",
    route: "Route",
    requests: "Requests",
    errors: "Errors",
    no_requests: "No requests in this range.",
    other_routes: "other routes",
    events: "What happened",
    events_text: "Starts, outages and rebalances, as this replica noticed them. Outages of less than 5 seconds are not listed.",
    needs_script: "The charts need JavaScript. Without it, the tables show each value; reload the page for newer ones.",
    live: LiveFlowWords {
        seconds: "s",
        milliseconds: "ms",
        per_second: "/s",
        replica: "Replica {}.",
        time: "Time",
        samples: "The newest samples. A time leads to the records that were rejected then.",
        chart: "chart; arrow keys choose a time, Enter shows what was rejected then",
        all_routes: "all routes",
        rejected: "Rejected records from {} to {}",
        cut: "No live data since {}. Reconnecting…",
        back: "Live data restored",
        unreachable: "The service does not answer. Trying again.",
        restarted: "This replica was restarted, or another replica answers: its samples begin at its start.",
        lasts: "still",
        start: MarkWords { short: "start", long: "This replica started" },
        postgres: MarkWords { short: "PostgreSQL", long: "PostgreSQL did not accept changes" },
        kafka: MarkWords { short: "Kafka", long: "No connection to Kafka" },
        redis: MarkWords {
            short: "Redis",
            long: "Redis was not used: no connection, or failed calls",
        },
        blocked: MarkWords {
            short: "blocked",
            long: "A part made no progress: /readyz and the log give the reason",
        },
        rebalance: MarkWords { short: "rebalance", long: "Partitions were assigned or revoked" },
        gap: MarkWords {
            short: "no samples",
            long: "No samples: the process was stopped, or the clock was set",
        },
    },
};

static RU: FlowWords = FlowWords {
    title: "Поток",
    ranges: "Период",
    last_15_minutes: "15 минут",
    last_24_hours: "24 часа",
    last_7_days: "7 дней",
    since: ["Данные с ", ": тогда запустилась эта реплика."],
    of_replica: "эта реплика",
    of_whole: "весь сервис",
    table: "Таблица: {}",
    line: "Показатель",
    newest: "Сейчас",
    mean: "В среднем",
    minimum: "Минимум",
    maximum: "Максимум",
    routes: "Запросы по маршрутам",
    routes_text: "Среднее за период. Ошибки — ответы со статусом от 500.",
    route: "Маршрут",
    requests: "Запросы",
    errors: "Ошибки",
    no_requests: "За этот период запросов не было.",
    other_routes: "остальные маршруты",
    events: "Что происходило",
    events_text: "Запуски, недоступность зависимостей и перераспределение партиций, как их заметила эта реплика. Недоступность короче 5 секунд не показана.",
    needs_script: "Графикам нужен JavaScript. Без него все значения — в таблицах; чтобы увидеть новые, перезагрузите страницу.",
    live: LiveFlowWords {
        seconds: "с",
        milliseconds: "мс",
        per_second: "/с",
        replica: "Реплика {}.",
        time: "Время",
        samples: "Последние значения. По ссылке на времени — записи, отклонённые тогда.",
        chart: "график; стрелки выбирают время, Enter показывает, что было отклонено",
        all_routes: "все маршруты",
        rejected: "Отклонённые записи с {} по {}",
        cut: "Нет свежих данных с {}. Подключаемся…",
        back: "Связь восстановлена",
        unreachable: "Сервис не отвечает. Повторяем запрос.",
        restarted: "Реплика перезапущена, или отвечает другая реплика: данные начинаются с её запуска.",
        lasts: "продолжается",
        start: MarkWords {
            short: "запуск", long: "Эта реплика запустилась"
        },
        postgres: MarkWords {
            short: "PostgreSQL", long: "PostgreSQL не принимал изменения"
        },
        kafka: MarkWords { short: "Kafka", long: "Не было соединения с Kafka" },
        redis: MarkWords {
            short: "Redis",
            long: "Redis не использовался: нет соединения или ошибки вызовов",
        },
        blocked: MarkWords {
            short: "остановка",
            long: "Часть сервиса не продвигалась: причина — в /readyz и в журнале",
        },
        rebalance: MarkWords {
            short: "партиции", long: "Партиции назначены или отозваны"
        },
        gap: MarkWords {
            short: "нет данных",
            long: "Нет данных: процесс был остановлен или часы переведены",
        },
    },
};
