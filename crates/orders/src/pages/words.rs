//! Every word of the pages, in every language.
//!
//! A language is a value of [`Words`], so a missing word does not compile. Russian is written for
//! Russian readers, not word for word.

use std::borrow::Cow;

use chassis::web::{
    Lang,
    words::{Forms, fill},
};
use events::InvalidOrderUid;

use super::live_words::{self, LiveWords};
use crate::order::violation::Violation;

/// The words that the server writes. `{}` stands for a value, see [`fill`].
pub(super) struct Words {
    // The frame of every page.
    pub(super) orders: &'static str,
    pub(super) couriers: &'static str,
    pub(super) rejected: &'static str,
    pub(super) more_than: &'static str,
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

    // Where there is no order to show.
    pub(super) missing_title: &'static str,
    pub(super) missing_text: &'static str,
    pub(super) waited: &'static str,
    pub(super) wait_for_it: &'static str,
    pub(super) see_rejected: &'static str,
    pub(super) is_track: Forms,
    pub(super) malformed_title: &'static str,
    pub(super) uid_blank: &'static str,
    pub(super) uid_too_long: &'static str,
    pub(super) uid_control: &'static str,
    pub(super) trouble_title: &'static str,
    pub(super) trouble_text: &'static str,
    pub(super) trouble_list_text: &'static str,
    pub(super) try_again: &'static str,
    pub(super) no_page_title: &'static str,
    pub(super) no_page_text: &'static str,

    // Rejected records.
    pub(super) rejected_title: &'static str,
    pub(super) rejected_text: &'static str,
    pub(super) nothing_rejected: &'static str,
    pub(super) nothing_for_reason: &'static str,
    pub(super) reason: &'static str,
    pub(super) any_reason: &'static str,
    pub(super) filter: &'static str,
    pub(super) when: &'static str,
    pub(super) record: &'static str,
    pub(super) why: &'static str,
    pub(super) more_violations: Forms,
    pub(super) older: &'static str,
    pub(super) rejection_title: &'static str,
    pub(super) no_rejection_title: &'static str,
    pub(super) no_rejection_text: &'static str,
    pub(super) broken_rules: Forms,
    pub(super) where_broken: &'static str,
    pub(super) rule: &'static str,
    pub(super) whole_record: &'static str,
    pub(super) as_received: &'static str,
    pub(super) bytes: Forms,
    pub(super) key: &'static str,
    pub(super) no_value: &'static str,
    pub(super) not_text: &'static str,
    pub(super) cut_to: &'static str,
    pub(super) replays: &'static str,
    pub(super) no_replays: &'static str,
    pub(super) replayed_as_is: &'static str,
    pub(super) replayed_edited: &'static str,
    pub(super) replay: &'static str,
    pub(super) replay_text: &'static str,
    pub(super) edit: &'static str,
    pub(super) edited_order: &'static str,
    pub(super) replay_edited: &'static str,

    // The API's documentation.
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

/// Why a text cannot be an order's id.
pub(super) fn uid_problem(lang: Lang, why: InvalidOrderUid) -> String {
    let words = Words::of(lang);
    match why {
        InvalidOrderUid::Blank => words.uid_blank.to_owned(),
        InvalidOrderUid::TooLong(bytes) => {
            fill(words.uid_too_long, lang.number(i128::try_from(bytes).unwrap_or(i128::MAX)))
        }
        InvalidOrderUid::ControlCharacter => words.uid_control.to_owned(),
    }
}

/// The broken rule in words. In English, and if its code has no translation, it is the message as it
/// was stored.
pub(super) fn violation(lang: Lang, violation: &Violation) -> Cow<'_, str> {
    let russian = match violation.code.as_str() {
        "null_record" => "у записи нет значения",
        "empty_record" => "значение записи пустое",
        "too_large" => "заказ больше 1 МиБ",
        "invalid_utf8" => "запись не в UTF-8",
        "invalid_json" => "запись — не JSON",
        "too_deep" => "вложенность больше 128 уровней",
        "not_an_object" => "заказ должен быть объектом JSON",
        "duplicate_key" => "ключ повторяется в одном объекте",
        "lone_surrogate" => "в тексте половина суррогатной пары",
        "wrong_type" => "значение не того типа, что в модели",
        "not_an_integer" => "нужно целое число, без дробной части и порядка",
        "out_of_range" => "число не помещается в 64 бита",
        "missing" => "обязательное поле отсутствует",
        "blank" => "поле не должно быть пустым",
        "too_long" => "текст длиннее допустимого",
        "nul_character" => "в тексте символ U+0000",
        "control_character" => "в тексте управляющие символы",
        "negative" => "число не должно быть отрицательным",
        "unknown_currency" => "нет такого кода валюты в ISO 4217",
        "invalid_date" => "нужны дата и время по RFC 3339, со смещением от UTC",
        "implausible_email" => "это не адрес электронной почты",
        "implausible_phone" => "это не номер телефона",
        "no_items" => "в заказе нет ни одного товара",
        "too_many_items" => "в заказе больше 1000 товаров",
        "sum_overflow" => "сумма не помещается в 64 бита",
        "no_orders" => "не прислано ни одного заказа",
        "too_many_orders" => "прислано больше 1000 заказов сразу",
        "refused_by_database" => "база данных не приняла эти данные",
        "internal_error" => {
            "внутренняя ошибка Waybill при обработке этой записи — сообщите о ней разработчикам"
        }
        "more" => "нарушены и другие правила, здесь не названные",
        _ => violation.message.as_str(),
    };
    Cow::Borrowed(match lang {
        Lang::En => &violation.message,
        Lang::Ru => russian,
    })
}

static EN: Words = Words {
    orders: "Orders",
    couriers: "Couriers",
    rejected: "Rejected",
    more_than: "more than {}",
    api: "API",

    id_or_track: "Order id or track number",
    show_order: "Show order",
    find_title: "Find an order",
    what_this_is: "Orders arrive on Kafka, are checked, stored in PostgreSQL, and are here the moment they are stored.",
    how_to_find: "Paste an order id or a track number above, or take one of the newest.",
    key_search: "to the search field",
    key_show: "shows",
    key_clear: "clears",
    no_orders: "No orders yet. Send some:",
    newest: "Newest orders",

    bar_code_of: "Bar code of {}",
    placed: "placed {}",
    delivered_by: "delivery by {}",
    to: "To",
    paid: "Paid",
    transaction: "transaction",
    request: "request",
    customer: "Customer",
    entry: "entry",
    locale: "locale",
    shard: "shard",
    signature: "signature",
    items: ["{} item", "{} items", "{} items"],
    item: "Item",
    size: "Size",
    price: "Price",
    sale: "Sale",
    total: "Total",
    status: "status",
    track: "track",
    sums: "How it adds up",
    goods: "Goods",
    delivery: "Delivery",
    fee: "Fee",
    in_all: "Total",
    above_items: "{} more than the items add up to",
    below_items: "{} less than the items add up to",
    above_parts: "{} more than goods, delivery and fee",
    below_parts: "{} less than goods, delivery and fee",
    from_memory: "from memory",
    from_redis: "from Redis",
    from_database: "from the database",
    version: "version {}",
    raw_json: "JSON",
    copy_link: "Copy link",
    history: "Life of this order",
    received: "Received and stored",
    replaced: "Replaced by later content, version {}",
    more_events: "More was told: the whole history",
    complete: "Mark as completed",
    cancel: "Cancel order",
    courier: "Courier",

    missing_title: "No such order here now",
    missing_text: "It may still be on its way, it may have been rejected, or the id has a slip in it.",
    waited: "Waited {}: it has not come.",
    wait_for_it: "Wait for it, up to 30 s",
    see_rejected: "See what was rejected",
    is_track: [
        "It is the track number of {} order",
        "It is the track number of {} orders",
        "It is the track number of {} orders",
    ],
    malformed_title: "This is no order id",
    uid_blank: "An order id has at least one character that is not a space.",
    uid_too_long: "An order id has at most 100 bytes; this text has {}.",
    uid_control: "An order id holds no control characters, such as line breaks or tabs.",
    trouble_title: "This order cannot be shown just now",
    trouble_text: "It is not in the cache, and the database does not answer. Orders in the cache are still shown, and nothing is lost: try again in a few seconds.",
    trouble_list_text: "The database does not answer. Nothing is lost: try again in a few seconds.",
    try_again: "Try again",
    no_page_title: "There is no such page",
    no_page_text: "The address may be mistyped. An order is found by its id or track number:",

    rejected_title: "Rejected records",
    rejected_text: "Records that could not become orders. Each is kept as it came, with every rule it broke, and can be replayed.",
    nothing_rejected: "Nothing has been rejected.",
    nothing_for_reason: "Nothing has been rejected for this reason.",
    reason: "Reason",
    any_reason: "any reason",
    filter: "Filter",
    when: "When",
    record: "Record",
    why: "Why",
    more_violations: ["and {} more", "and {} more", "and {} more"],
    older: "Older",
    rejection_title: "Rejected record",
    no_rejection_title: "No such rejected record",
    no_rejection_text: "Nothing is kept as rejected under this topic, partition and offset. The address may be mistyped.",
    broken_rules: ["{} rule broken", "{} rules broken", "{} rules broken"],
    where_broken: "Where",
    rule: "Rule",
    whole_record: "the whole record",
    as_received: "As received",
    bytes: ["{} byte", "{} bytes", "{} bytes"],
    key: "key",
    no_value: "The record has no value.",
    not_text: "not UTF-8, shown in hexadecimal",
    cut_to: "the first {} are shown",
    replays: "Replays",
    no_replays: "Not replayed yet.",
    replayed_as_is: "Sent again as it was",
    replayed_edited: "Sent again, corrected",
    replay: "Replay as it is",
    replay_text: "The same bytes go to the topic again. That helps when the rules have changed, not when the record is wrong.",
    edit: "Correct it first",
    edited_order: "The corrected order",
    replay_edited: "Replay corrected",

    api_title: "API of the order service",
    api_text: "All calls of this service, as OpenAPI 3.1:",

    live: live_words::EN,
};

static RU: Words = Words {
    orders: "Заказы",
    couriers: "Курьеры",
    rejected: "Отклонённые",
    more_than: "больше {}",
    api: "API",

    id_or_track: "Номер заказа или трек-номер",
    show_order: "Показать",
    find_title: "Найти заказ",
    what_this_is: "Заказы приходят через Kafka, проходят проверку, ложатся в PostgreSQL — и в ту же секунду видны здесь.",
    how_to_find: "Вставьте номер заказа или трек-номер либо выберите заказ из последних.",
    key_search: "— к поиску",
    key_show: "— показать",
    key_clear: "— очистить",
    no_orders: "Заказов пока нет. Отправьте несколько:",
    newest: "Последние заказы",

    bar_code_of: "Штрихкод {}",
    placed: "от {}",
    delivered_by: "доставка: {}",
    to: "Кому",
    paid: "Оплата",
    transaction: "транзакция",
    request: "запрос",
    customer: "Покупатель",
    entry: "вход",
    locale: "язык",
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
    sums: "Из чего сложилась сумма",
    goods: "Товары",
    delivery: "Доставка",
    fee: "Сбор",
    in_all: "Итого",
    above_items: "на {} больше суммы товаров",
    below_items: "на {} меньше суммы товаров",
    above_parts: "на {} больше, чем товары, доставка и сбор",
    below_parts: "на {} меньше, чем товары, доставка и сбор",
    from_memory: "из памяти",
    from_redis: "из Redis",
    from_database: "из базы данных",
    version: "версия {}",
    raw_json: "JSON",
    copy_link: "Скопировать ссылку",
    history: "Путь заказа",
    received: "Получен и сохранён",
    replaced: "Заменён более поздним содержанием, версия {}",
    more_events: "Было и другое — вся история",
    complete: "Отметить выполненным",
    cancel: "Отменить заказ",
    courier: "Курьер",

    missing_title: "Такого заказа сейчас нет",
    missing_text: "Возможно, он ещё в пути, отклонён при проверке или в номере опечатка.",
    waited: "Ждали {} — не пришёл.",
    wait_for_it: "Подождать до 30 с",
    see_rejected: "Посмотреть отклонённые",
    is_track: [
        "Это трек-номер {} заказа",
        "Это трек-номер {} заказов",
        "Это трек-номер {} заказов",
    ],
    malformed_title: "Это не номер заказа",
    uid_blank: "В номере заказа должен быть хотя бы один символ, кроме пробелов.",
    uid_too_long: "Номер заказа — не длиннее 100 байт, а здесь {}.",
    uid_control: "В номере заказа не бывает управляющих символов: переносов строки, табуляций.",
    trouble_title: "Сейчас этот заказ не показать",
    trouble_text: "Его нет в кэше, а база данных не отвечает. Заказы из кэша по-прежнему доступны, ничего не потеряно — повторите через несколько секунд.",
    trouble_list_text: "База данных не отвечает. Ничего не потеряно — повторите через несколько секунд.",
    try_again: "Повторить",
    no_page_title: "Такой страницы нет",
    no_page_text: "Возможно, в адресе опечатка. Заказ можно найти по номеру или трек-номеру:",

    rejected_title: "Отклонённые записи",
    rejected_text: "Записи, из которых не получился заказ. Каждая хранится как пришла, со всеми нарушениями, и её можно отправить ещё раз.",
    nothing_rejected: "Отклонённых записей нет.",
    nothing_for_reason: "По этой причине ничего не отклонено.",
    reason: "Причина",
    any_reason: "любая",
    filter: "Отобрать",
    when: "Когда",
    record: "Запись",
    why: "Почему",
    more_violations: ["и ещё {}", "и ещё {}", "и ещё {}"],
    older: "Более ранние",
    rejection_title: "Отклонённая запись",
    no_rejection_title: "Такой отклонённой записи нет",
    no_rejection_text: "Под этими топиком, партицией и смещением ничего не отклонено. Возможно, в адресе опечатка.",
    broken_rules: ["Нарушено {} правило", "Нарушены {} правила", "Нарушено {} правил"],
    where_broken: "Где",
    rule: "Правило",
    whole_record: "вся запись",
    as_received: "Как пришло",
    bytes: ["{} байт", "{} байта", "{} байт"],
    key: "ключ",
    no_value: "У записи нет значения.",
    not_text: "не UTF-8, показано в шестнадцатеричном виде",
    cut_to: "показано начало: {}",
    replays: "Повторные отправки",
    no_replays: "Ещё не отправлялась повторно.",
    replayed_as_is: "Отправлена без изменений",
    replayed_edited: "Отправлена с исправлениями",
    replay: "Отправить ещё раз",
    replay_text: "В топик уйдут те же байты. Это поможет, если изменились правила, но не если ошибка в самой записи.",
    edit: "Сначала исправить",
    edited_order: "Исправленный заказ",
    replay_edited: "Отправить исправленный",

    api_title: "API сервиса заказов",
    api_text: "Все вызовы сервиса в формате OpenAPI 3.1 (на английском):",

    live: live_words::RU,
};

#[cfg(test)]
mod tests {
    use chassis::web::words::counted;

    use super::*;

    #[test]
    fn counted_words_take_the_form_of_their_number() {
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

    /// All words of a language as JSON, to look at every one of them.
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
    fn both_languages_ask_for_the_same_values() {
        for (english, russian) in live_words(Lang::En).iter().zip(&live_words(Lang::Ru)) {
            assert_eq!(english.0, russian.0);
            for (en, ru) in english.1.iter().zip(&russian.1) {
                assert!(!en.is_empty() && !ru.is_empty(), "{}", english.0);
                assert_eq!(en.matches("{}").count(), ru.matches("{}").count(), "{}", english.0);
            }
        }
    }

    #[test]
    fn an_unknown_rule_is_told_as_it_was_stored() {
        let of = |code: &str| Violation {
            pointer: "/payment/amount".to_owned(),
            code: code.to_owned(),
            message: "must not be negative".to_owned(),
        };
        assert_eq!(violation(Lang::Ru, &of("negative")), "число не должно быть отрицательным");
        assert_eq!(violation(Lang::Ru, &of("brand_new")), "must not be negative");
        assert_eq!(violation(Lang::En, &of("negative")), "must not be negative");
    }
}
