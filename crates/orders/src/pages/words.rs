//! The texts of the pages, in English and Russian.
//!
//! Each language is a value of [`Words`], so a missing translation does not compile. The Russian
//! texts are not word-for-word translations.

use chassis::web::{
    Lang,
    rejected::KindTexts,
    words::{Forms, fill},
};
use events::InvalidOrderUid;

use super::live_words::{self, LiveWords};
/// The texts that the server renders. [`fill`] replaces `{}` by a value.
pub(super) struct Words {
    // The frame of all pages.
    pub(super) orders: &'static str,
    pub(super) couriers: &'static str,
    pub(super) rejected: &'static str,
    pub(super) more_than: &'static str,
    pub(super) flow: &'static str,
    pub(super) api: &'static str,

    // The search.
    pub(super) id_or_track: &'static str,
    pub(super) show_order: &'static str,
    pub(super) find_title: &'static str,
    pub(super) what_this_is: &'static str,
    pub(super) how_to_find: &'static str,
    pub(super) key_search: &'static str,
    pub(super) key_show: &'static str,
    pub(super) key_clear: &'static str,
    pub(super) no_orders: &'static str,
    pub(super) newest: &'static str,

    // The order.
    pub(super) bar_code_of: &'static str,
    pub(super) placed: &'static str,
    pub(super) delivered_by: &'static str,
    pub(super) to: &'static str,
    pub(super) paid: &'static str,
    pub(super) transaction: &'static str,
    pub(super) request: &'static str,
    pub(super) customer: &'static str,
    pub(super) entry: &'static str,
    pub(super) locale: &'static str,
    pub(super) shard: &'static str,
    pub(super) signature: &'static str,
    pub(super) items: Forms,
    pub(super) item: &'static str,
    pub(super) size: &'static str,
    pub(super) price: &'static str,
    pub(super) sale: &'static str,
    pub(super) total: &'static str,
    pub(super) status: &'static str,
    pub(super) track: &'static str,
    pub(super) sums: &'static str,
    pub(super) goods: &'static str,
    pub(super) delivery: &'static str,
    pub(super) fee: &'static str,
    pub(super) in_all: &'static str,
    pub(super) above_items: &'static str,
    pub(super) below_items: &'static str,
    pub(super) above_parts: &'static str,
    pub(super) below_parts: &'static str,
    pub(super) from_memory: &'static str,
    pub(super) from_redis: &'static str,
    pub(super) from_database: &'static str,
    pub(super) version: &'static str,
    pub(super) raw_json: &'static str,
    pub(super) copy_link: &'static str,
    pub(super) history: &'static str,
    pub(super) received: &'static str,
    pub(super) replaced: &'static str,
    pub(super) more_events: &'static str,
    pub(super) complete: &'static str,
    pub(super) cancel: &'static str,
    pub(super) courier: &'static str,

    // Message pages: not found, invalid id, database unavailable.
    pub(super) missing_title: &'static str,
    pub(super) missing_text: &'static str,
    pub(super) only_events_title: &'static str,
    pub(super) only_events_text: &'static str,
    pub(super) no_status_text: &'static str,
    pub(super) see_events: &'static str,
    pub(super) waited: &'static str,
    pub(super) wait_for_it: &'static str,
    pub(super) see_rejected: &'static str,
    pub(super) is_track: Forms,
    pub(super) malformed_title: &'static str,
    pub(super) uid_blank: &'static str,
    pub(super) uid_too_long: &'static str,
    pub(super) uid_control: &'static str,
    pub(super) uid_dots: &'static str,
    pub(super) trouble_title: &'static str,
    pub(super) trouble_text: &'static str,
    pub(super) trouble_list_text: &'static str,
    pub(super) try_again: &'static str,
    pub(super) no_page_title: &'static str,
    pub(super) no_page_text: &'static str,

    // Rejected records.
    pub(super) rejected_kind: KindTexts,
    pub(super) rejected_title: &'static str,
    pub(super) no_rejection_title: &'static str,
    pub(super) no_rejection_text: &'static str,

    // The documentation of the API.
    pub(super) api_title: &'static str,
    pub(super) api_text: &'static str,

    pub(super) live: LiveWords,
}

impl Words {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Ru => &RU,
        }
    }
}

/// Returns the message for an invalid order id.
pub(super) fn uid_problem(lang: Lang, reason: InvalidOrderUid) -> String {
    let words = Words::of(lang);
    match reason {
        InvalidOrderUid::Blank => words.uid_blank.to_owned(),
        InvalidOrderUid::TooLong(bytes) => {
            fill(words.uid_too_long, lang.number(i128::try_from(bytes).unwrap_or(i128::MAX)))
        }
        InvalidOrderUid::ControlCharacter => words.uid_control.to_owned(),
        InvalidOrderUid::Dots => words.uid_dots.to_owned(),
    }
}

static EN: Words = Words {
    orders: "Orders",
    couriers: "Couriers",
    rejected: "Rejected",
    more_than: "more than {}",
    flow: "Flow",
    api: "API",

    id_or_track: "Order id or track number",
    show_order: "Show order",
    find_title: "Find an order",
    what_this_is: "The service reads orders from Kafka, validates them and stores them in PostgreSQL. A stored order is shown here at once.",
    how_to_find: "Enter an order id or a track number in the search field, or choose one of the newest orders.",
    key_search: "go to search",
    key_show: "show the order",
    key_clear: "clear the field",
    no_orders: "No orders yet. To send test orders, run:",
    newest: "Newest orders",

    bar_code_of: "Bar code of {}",
    placed: "placed {}",
    delivered_by: "delivery service: {}",
    to: "To",
    paid: "Payment",
    transaction: "transaction",
    request: "request id",
    customer: "Customer",
    entry: "entry",
    locale: "locale",
    shard: "shard",
    signature: "signature",
    items: ["{} item", "{} items", "{} items"],
    item: "Item",
    size: "Size",
    price: "Price",
    sale: "Discount",
    total: "Total",
    status: "status",
    track: "track",
    sums: "Order totals",
    goods: "Goods",
    delivery: "Delivery",
    fee: "Fee",
    in_all: "Total",
    above_items: "{} more than the sum of the items",
    below_items: "{} less than the sum of the items",
    above_parts: "{} more than the sum of goods, delivery and fee",
    below_parts: "{} less than the sum of goods, delivery and fee",
    from_memory: "from memory",
    from_redis: "from Redis",
    from_database: "from the database",
    version: "version {}",
    raw_json: "JSON",
    copy_link: "Copy link",
    history: "Order history",
    received: "Received and stored",
    replaced: "Replaced by a later record, version {}",
    more_events: "Show all events",
    complete: "Mark as completed",
    cancel: "Cancel order",
    courier: "Courier",

    missing_title: "Order not found",
    missing_text: "The order may not have arrived yet, it may have been rejected, or the id may contain a typing error. Check the id, wait for the order, or look for it in the rejected records.",
    waited: "Waited {}. The order has not arrived.",
    wait_for_it: "Wait up to 30 s",
    only_events_title: "Only events of this order are known",
    only_events_text: "The order itself is not stored, but events about it are recorded. Its status is: {}.",
    no_status_text: "The order itself is not stored. Events about it are recorded, but none of them gives it a status: each is about its delivery, has an unknown status or is “updated”.",
    see_events: "Show its events (JSON)",
    see_rejected: "Show rejected records",
    is_track: [
        "It is the track number of {} order",
        "It is the track number of {} orders",
        "It is the track number of {} orders",
    ],
    malformed_title: "Invalid order id",
    uid_blank: "An order id must contain at least one character that is not a space.",
    uid_too_long: "An order id has at most 100 bytes; this text has {}.",
    uid_control: "An order id must not contain control characters, such as line breaks or tabs.",
    uid_dots: "An order id must not be one or two dots: an address cannot contain them.",
    trouble_title: "The order cannot be shown now",
    trouble_text: "The order is not in the cache, and the database does not answer. No data is lost, and cached orders are still available. Try again in a few seconds.",
    trouble_list_text: "The database does not answer. No data is lost. Try again in a few seconds.",
    try_again: "Try again",
    no_page_title: "Page not found",
    no_page_text: "Check the address. To find an order, enter its id or track number in the search field.",

    rejected_kind: KindTexts {
        list_title: "Rejected records",
        list_text: "Records that are not valid orders. Each record is stored with the rules that it violates, and can be edited and replayed, or settled with a note.",
        record_title: "Rejected record",
        edited: "Edited order",
    },
    rejected_title: "Rejected records",
    no_rejection_title: "Rejected record not found",
    no_rejection_text: "There is no rejected record with this topic, partition and offset. Check the address.",

    api_title: "API of the order service",
    api_text: "All calls of this service, as OpenAPI 3.1:",

    live: live_words::EN,
};

static RU: Words = Words {
    orders: "Заказы",
    couriers: "Курьеры",
    rejected: "Отклонённые",
    more_than: "больше {}",
    flow: "Поток",
    api: "API",

    id_or_track: "Номер заказа или трек-номер",
    show_order: "Показать",
    find_title: "Найти заказ",
    what_this_is: "Сервис читает заказы из Kafka, проверяет их и сохраняет в PostgreSQL. Сохранённый заказ сразу появляется здесь.",
    how_to_find: "Введите номер заказа или трек-номер в поле поиска либо выберите заказ из последних.",
    key_search: "— перейти к поиску",
    key_show: "— показать заказ",
    key_clear: "— очистить поле",
    no_orders: "Заказов пока нет. Чтобы отправить тестовые, выполните:",
    newest: "Последние заказы",

    bar_code_of: "Штрихкод {}",
    placed: "от {}",
    delivered_by: "служба доставки: {}",
    to: "Кому",
    paid: "Оплата",
    transaction: "транзакция",
    request: "ID запроса",
    customer: "Покупатель",
    entry: "entry",
    locale: "локаль",
    shard: "шард",
    signature: "подпись",
    items: ["{} товар", "{} товара", "{} товаров"],
    item: "Товар",
    size: "Размер",
    price: "Цена",
    sale: "Скидка",
    total: "Сумма",
    status: "статус",
    track: "трек",
    sums: "Суммы заказа",
    goods: "Товары",
    delivery: "Доставка",
    fee: "Сбор",
    in_all: "Итого",
    above_items: "на {} больше суммы товаров",
    below_items: "на {} меньше суммы товаров",
    above_parts: "на {} больше суммы товаров, доставки и сбора",
    below_parts: "на {} меньше суммы товаров, доставки и сбора",
    from_memory: "из памяти",
    from_redis: "из Redis",
    from_database: "из базы данных",
    version: "версия {}",
    raw_json: "JSON",
    copy_link: "Скопировать ссылку",
    history: "История заказа",
    received: "Получен и сохранён",
    replaced: "Заменён более поздней записью, версия {}",
    more_events: "Показать все события",
    complete: "Отметить выполненным",
    cancel: "Отменить заказ",
    courier: "Курьер",

    missing_title: "Заказ не найден",
    missing_text: "Возможно, заказ ещё не поступил, был отклонён или в номере есть опечатка. Проверьте номер, подождите или поищите заказ среди отклонённых записей.",
    waited: "Ждали {}. Заказ не поступил.",
    wait_for_it: "Подождать до 30 с",
    only_events_title: "О заказе известны только события",
    only_events_text: "Сам заказ не сохранён, но события о нём записаны. Его статус: {}.",
    no_status_text: "Сам заказ не сохранён. События о нём записаны, но ни одно из них не задаёт статус: это события доставки, событие «изменён» или события с неизвестным статусом.",
    see_events: "Показать события (JSON)",
    see_rejected: "Показать отклонённые записи",
    is_track: [
        "Это трек-номер {} заказа",
        "Это трек-номер {} заказов",
        "Это трек-номер {} заказов",
    ],
    malformed_title: "Неверный номер заказа",
    uid_blank: "В номере заказа должен быть хотя бы один символ, кроме пробелов.",
    uid_too_long: "Номер заказа должен быть не длиннее 100 байт, а в этом тексте их {}.",
    uid_control: "В номере заказа не должно быть управляющих символов, например переносов строки и табуляций.",
    uid_dots: "Номер заказа не может быть точкой или двумя точками: в адресе их передать нельзя.",
    trouble_title: "Не удалось показать заказ",
    trouble_text: "Заказа нет в кэше, а база данных не отвечает. Данные не потеряны, заказы из кэша по-прежнему доступны. Повторите через несколько секунд.",
    trouble_list_text: "База данных не отвечает. Данные не потеряны. Повторите через несколько секунд.",
    try_again: "Повторить",
    no_page_title: "Страница не найдена",
    no_page_text: "Проверьте адрес. Чтобы найти заказ, введите его номер или трек-номер в поле поиска.",

    rejected_kind: KindTexts {
        list_title: "Отклонённые записи",
        list_text: "Записи, не прошедшие проверку. Каждая хранится вместе с найденными нарушениями; её можно изменить и отправить повторно или отметить как разобранную.",
        record_title: "Отклонённая запись",
        edited: "Изменённый заказ",
    },
    rejected_title: "Отклонённые записи",
    no_rejection_title: "Отклонённая запись не найдена",
    no_rejection_text: "Отклонённой записи с такими топиком, партицией и смещением нет. Проверьте адрес.",

    api_title: "API сервиса заказов",
    api_text: "Все вызовы сервиса в формате OpenAPI 3.1 (на английском):",

    live: live_words::RU,
};

#[cfg(test)]
mod tests {
    use chassis::web::words::counted;

    use super::*;

    #[test]
    fn a_counted_word_has_the_plural_form_of_its_number() {
        let items = |lang, n| counted(lang, &Words::of(lang).items, n);
        assert_eq!(items(Lang::En, 1), "1 item");
        assert_eq!(items(Lang::En, 1_000), "1,000 items");
        assert_eq!(items(Lang::Ru, 1), "1 товар");
        assert_eq!(items(Lang::Ru, 3), "3 товара");
        assert_eq!(items(Lang::Ru, 12), "12 товаров");
        assert_eq!(items(Lang::Ru, 1_000), "1\u{a0}000 товаров");
    }

    #[test]
    fn a_filled_value_is_not_filled_again() {
        assert_eq!(fill("Bar code of {}", "{}<b>"), "Bar code of {}<b>");
    }

    /// Returns the live words of a language, read from their JSON: names and texts.
    fn live_words(lang: Lang) -> Vec<(String, Vec<String>)> {
        let json = serde_json::to_value(&Words::of(lang).live).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let entries = json.as_object().unwrap().iter().map(|(key, value)| {
            let texts = value
                .as_array()
                .map_or_else(|| vec![text(value)], |all| all.iter().map(text).collect());
            (key.clone(), texts)
        });
        entries.collect()
    }

    #[test]
    fn both_languages_have_the_same_placeholders() {
        for (english, russian) in live_words(Lang::En).iter().zip(&live_words(Lang::Ru)) {
            assert_eq!(english.0, russian.0);
            for (en, ru) in english.1.iter().zip(&russian.1) {
                assert!(!en.is_empty() && !ru.is_empty(), "{}", english.0);
                assert_eq!(en.matches("{}").count(), ru.matches("{}").count(), "{}", english.0);
            }
        }
    }
}
