//! The texts that the scripts of the board and of a courier's page show, in English and Russian. Each
//! page contains them as JSON.

use std::collections::BTreeMap;

use chassis::web::{Lang, words::Forms};
use serde::Serialize;

use super::board_words::BoardWords;

/// The texts that the scripts show. `{}` is replaced by a value.
#[derive(Serialize)]
pub(super) struct LiveWords {
    units: [&'static str; 4],
    pub(super) until: &'static str,
    pub(super) late: &'static str,
    live: &'static str,
    cut: &'static str,
    back: &'static str,
    unreachable: &'static str,

    // What was done. The first `{}` is the order or the courier, the second one the other of both.
    assigned: &'static str,
    moved: &'static str,
    unassigned: &'static str,
    requeued: &'static str,
    paused: &'static str,
    resumed: &'static str,
    retired: &'static str,
    restored: &'static str,
    added: &'static str,
    failed: &'static str,
    skipped: &'static str,
    already: &'static str,
    undo: &'static str,
    undo_all: &'static str,
    undone: &'static str,
    nothing_to_undo: &'static str,
    succeeded: &'static str,

    // The search, the chooser and the selected rows.
    order: &'static str,
    courier: &'static str,
    found: Forms,
    nothing_found: &'static str,
    search_failed: &'static str,
    nobody_free: &'static str,
    rows_selected: Forms,

    /// The messages of problems, by the part of the problem's type after `/docs#`.
    #[serde(serialize_with = "as_map")]
    problems: [(&'static str, &'static str); 12],
    /// The rules of the form's fields, by the name of the field.
    #[serde(serialize_with = "as_map")]
    fields: [(&'static str, &'static str); 3],
    /// The states of orders and couriers, by their words in JSON.
    #[serde(serialize_with = "as_map")]
    states: [(&'static str, &'static str); 12],
}

fn as_map<const N: usize, S: serde::Serializer>(
    pairs: &[(&'static str, &'static str); N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    pairs.iter().copied().collect::<BTreeMap<_, _>>().serialize(serializer)
}

impl LiveWords {
    pub(super) fn of(lang: Lang) -> Self {
        let states = BoardWords::of(lang).states();
        match lang {
            Lang::En => Self::english(states),
            Lang::Ru => Self::russian(states),
        }
    }

    fn english(states: [(&'static str, &'static str); 12]) -> Self {
        Self {
            units: ["s", "min", "h", "d"],
            until: "deadline {}",
            late: "{} late",
            live: "live",
            cut: "no live data since {}",
            back: "live data restored",
            unreachable: "The courier service does not answer. The change may or may not have been made: check the board when it is live again.",
            assigned: "{} was assigned to {}",
            moved: "{} was moved to {}",
            unassigned: "{} was unassigned from {} and is held",
            requeued: "{} was unassigned from {} and waits at its place in the queue",
            paused: "{} was paused",
            resumed: "{} was resumed",
            retired: "{} was retired",
            restored: "{} was restored",
            added: "{} was added",
            failed: "{}: {}",
            skipped: "{}: not possible in this state",
            already: "already in this state",
            undo: "Undo",
            undo_all: "Undo all",
            undone: "undone",
            nothing_to_undo: "There is nothing to undo.",
            succeeded: "{} of {} done",
            order: "order",
            courier: "courier",
            found: ["{} result", "{} results", "{} results"],
            nothing_found: "Nothing was found.",
            search_failed: "The search does not answer; try again in a moment.",
            nobody_free: "No free courier was found.",
            rows_selected: ["{} row selected", "{} rows selected", "{} rows selected"],
            problems: [
                ("no-courier-available", "No courier is free. Nothing was changed."),
                (
                    "courier-not-available",
                    "This courier is not free any more: they carry another order, are paused or are retired.",
                ),
                ("courier-carries", "This courier carries an order: move or unassign it first."),
                ("already-assigned", "This order already has a courier."),
                ("order-ended", "This order is completed or cancelled and cannot be assigned."),
                ("not-assigned", "This order has no courier."),
                ("no-such-order", "The courier service has no such order. Check the order id."),
                ("no-such-courier", "There is no such courier."),
                ("phone-taken", "Another courier has this phone number."),
                ("cross-origin", "The browser did not allow this request. Reload the page."),
                ("database-unavailable", "The database does not answer; try again in a moment."),
                ("too-many-requests", "Too many requests at the moment; try again."),
            ],
            fields: [
                ("name", "Enter a name of at most 255 bytes."),
                ("phone", "Enter a phone number: + and 10 to 15 digits."),
                (
                    "order_id",
                    "An order id must be 1 to 100 bytes long, without spaces at the start or end.",
                ),
            ],
            states,
        }
    }

    fn russian(states: [(&'static str, &'static str); 12]) -> Self {
        Self {
            units: ["с", "мин", "ч", "д"],
            until: "доставить до {}",
            late: "опаздывает на {}",
            live: "онлайн",
            cut: "нет свежих данных с {}",
            back: "связь восстановлена",
            unreachable: "Сервис курьеров не отвечает. Выполнено ли изменение, неизвестно: проверьте панель, когда связь восстановится.",
            assigned: "{}: назначен курьер {}",
            moved: "{}: передан курьеру {}",
            unassigned: "{}: снят с курьера {} и отложен",
            requeued: "{}: снят с курьера {} и ждёт на своём месте в очереди",
            paused: "{}: на паузе",
            resumed: "{}: снова в работе",
            retired: "{}: исключён из работы",
            restored: "{}: возвращён в работу",
            added: "{}: добавлен",
            failed: "{}: {}",
            skipped: "{}: невозможно в этом состоянии",
            already: "уже в этом состоянии",
            undo: "Отменить",
            undo_all: "Отменить всё",
            undone: "отменено",
            nothing_to_undo: "Отменять нечего.",
            succeeded: "Выполнено {} из {}",
            order: "заказ",
            courier: "курьер",
            found: ["{} результат", "{} результата", "{} результатов"],
            nothing_found: "Ничего не найдено.",
            search_failed: "Поиск не отвечает; попробуйте чуть позже.",
            nobody_free: "Свободный курьер не найден.",
            rows_selected: ["Выбрана {} строка", "Выбрано {} строки", "Выбрано {} строк"],
            problems: [
                ("no-courier-available", "Свободных курьеров нет. Ничего не изменилось."),
                (
                    "courier-not-available",
                    "Этот курьер уже не свободен: везёт другой заказ, на паузе или исключён.",
                ),
                (
                    "courier-carries",
                    "Этот курьер везёт заказ: сначала передайте или снимите заказ.",
                ),
                ("already-assigned", "У этого заказа уже есть курьер."),
                ("order-ended", "Заказ выполнен или отменён: назначить курьера нельзя."),
                ("not-assigned", "У этого заказа нет курьера."),
                ("no-such-order", "Сервис курьеров не знает такого заказа. Проверьте номер."),
                ("no-such-courier", "Такого курьера нет."),
                ("phone-taken", "Этот телефон уже указан у другого курьера."),
                ("cross-origin", "Браузер не разрешил этот запрос. Перезагрузите страницу."),
                ("database-unavailable", "База данных не отвечает; попробуйте чуть позже."),
                ("too-many-requests", "Сейчас слишком много запросов; попробуйте ещё раз."),
            ],
            fields: [
                ("name", "Укажите имя не длиннее 255 байт."),
                ("phone", "Укажите телефон: + и от 10 до 15 цифр."),
                ("order_id", "Номер заказа: от 1 до 100 байт, без пробелов в начале и в конце."),
            ],
            states,
        }
    }
}
