//! The texts of a courier's page, in English and Russian.

use chassis::web::{Lang, words::Forms};

/// The texts of a courier's page. `{}` is replaced by a value.
pub(super) struct CourierWords {
    pub(super) since: &'static str,
    pub(super) carries: &'static str,
    pub(super) figures: &'static str,
    pub(super) deliveries: &'static str,
    pub(super) completed: &'static str,
    pub(super) on_time: &'static str,
    pub(super) read_late: &'static str,
    pub(super) mean: &'static str,
    pub(super) p95: &'static str,
    pub(super) released: &'static str,
    pub(super) today: &'static str,
    pub(super) strip: &'static str,
    pub(super) strip_deliveries: Forms,
    pub(super) no_deliveries: &'static str,
    pub(super) order: &'static str,
    pub(super) assigned_at: &'static str,
    pub(super) deadline: &'static str,
    pub(super) end: &'static str,
    pub(super) state: &'static str,
    pub(super) on_road: &'static str,
    pub(super) overdue: &'static str,
    pub(super) on_time_state: &'static str,
    pub(super) late: &'static str,
    pub(super) read_late_state: &'static str,
    pub(super) released_state: &'static str,
    pub(super) log: &'static str,
    pub(super) entries: [(&'static str, &'static str); 6],
    pub(super) by_actor: &'static str,
    pub(super) no_entries: &'static str,
    pub(super) all_deliveries: &'static str,
    pub(super) needs_script: &'static str,
    pub(super) not_found_title: &'static str,
    pub(super) not_found_text: &'static str,
}

impl CourierWords {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &ENGLISH,
            Lang::Ru => &RUSSIAN,
        }
    }

    /// Returns the text of an entry of the log; an unknown word stays as it is.
    pub(super) fn entry<'a>(&self, status: &'a str) -> &'a str {
        self.entries.iter().find(|(word, _)| *word == status).map_or(status, |(_, text)| text)
    }
}

static ENGLISH: CourierWords = CourierWords {
    since: "registered {}",
    carries: "Carries",
    figures: "Figures",
    deliveries: "deliveries",
    completed: "completed",
    on_time: "on time",
    read_late: "read late, not in the figures",
    mean: "mean time in 24 h",
    p95: "95 % took at most",
    released: "released, not completed",
    today: "Today (UTC)",
    strip: "Deliveries from 0 to 24 h UTC",
    strip_deliveries: [
        "{} delivery; the table below lists it",
        "{} deliveries; the table below lists them",
        "{} deliveries; the table below lists them",
    ],
    no_deliveries: "No deliveries today.",
    order: "Order",
    assigned_at: "Assigned",
    deadline: "Deadline",
    end: "Completed",
    state: "State",
    on_road: "out for delivery",
    overdue: "overdue",
    on_time_state: "on time",
    late: "late",
    read_late_state: "read late",
    released_state: "released",
    log: "Log",
    entries: [
        ("added", "Registered"),
        ("changed", "Name, phone or transport changed"),
        ("paused", "Paused"),
        ("resumed", "Resumed"),
        ("retired", "Retired"),
        ("restored", "Restored"),
    ],
    by_actor: "by {}, not verified",
    no_entries: "No entries: the courier was registered by an earlier version.",
    all_deliveries: "All completed deliveries (JSON)",
    needs_script: "Without JavaScript, use the API to pause, resume, retire or restore the courier.",
    not_found_title: "No such courier",
    not_found_text: "There is no courier with this id. Search for the courier on the board.",
};

static RUSSIAN: CourierWords = CourierWords {
    since: "в системе с {}",
    carries: "Везёт",
    figures: "Показатели",
    deliveries: "доставок",
    completed: "выполнено",
    on_time: "вовремя",
    read_late: "прочитано с опозданием, не учтено",
    mean: "среднее время за 24 ч",
    p95: "95 % не дольше",
    released: "снято по просрочке, не выполнено",
    today: "Сегодня (UTC)",
    strip: "Доставки с 0 до 24 ч UTC",
    strip_deliveries: [
        "{} доставка, она есть в таблице ниже",
        "{} доставки, они есть в таблице ниже",
        "{} доставок, они есть в таблице ниже",
    ],
    no_deliveries: "Сегодня доставок нет.",
    order: "Заказ",
    assigned_at: "Назначен",
    deadline: "Срок",
    end: "Выполнен",
    state: "Состояние",
    on_road: "в пути",
    overdue: "опаздывает",
    on_time_state: "вовремя",
    late: "с опозданием",
    read_late_state: "прочитано с опозданием",
    released_state: "снят по просрочке",
    log: "Журнал",
    entries: [
        ("added", "Добавлен"),
        ("changed", "Изменены имя, телефон или транспорт"),
        ("paused", "Поставлен на паузу"),
        ("resumed", "Снят с паузы"),
        ("retired", "Исключён"),
        ("restored", "Возвращён"),
    ],
    by_actor: "автор: {}, не проверен",
    no_entries: "Записей нет: курьер добавлен предыдущей версией.",
    all_deliveries: "Все выполненные доставки (JSON)",
    needs_script: "Без JavaScript поставить курьера на паузу, исключить или вернуть можно через API.",
    not_found_title: "Такого курьера нет",
    not_found_text: "Курьера с таким номером нет. Найдите курьера на панели.",
};
