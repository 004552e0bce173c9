//! The texts of the board, in English and Russian.
//!
//! Each language is a value of [`Words`], so a missing translation does not compile. The Russian
//! texts are not word-for-word translations. The page contains [`LiveWords`] as JSON for its
//! script.

use std::collections::BTreeMap;

use chassis::web::{Lang, words::Forms};
use serde::Serialize;

use crate::delivery::courier::Transport;

/// The texts that the server renders. `{}` is replaced by a value.
pub(super) struct Words {
    // The frame.
    pub(super) orders: &'static str,
    pub(super) couriers: &'static str,
    pub(super) rejected: &'static str,
    pub(super) flow: &'static str,
    pub(super) api: &'static str,
    pub(super) api_title: &'static str,
    pub(super) api_text: &'static str,

    // The statistics.
    pub(super) figures: &'static str,
    pub(super) orders_wait: Forms,
    pub(super) oldest: &'static str,
    pub(super) on_the_road: &'static str,
    pub(super) on_the_road_late: &'static str,
    pub(super) couriers_free: Forms,
    pub(super) completed: &'static str,
    pub(super) completed_mean: &'static str,
    pub(super) on_time: &'static str,
    pub(super) released: &'static str,
    pub(super) completed_without_courier: &'static str,

    // The queue.
    pub(super) waiting: &'static str,
    pub(super) held: &'static str,
    pub(super) held_since: &'static str,
    pub(super) place_in_queue: &'static str,
    pub(super) next_in_queue: &'static str,
    pub(super) all_carry: Forms,
    pub(super) and_paused: Forms,
    pub(super) all_paused: &'static str,
    pub(super) no_couriers: &'static str,
    pub(super) nobody_waits: &'static str,
    pub(super) assign: &'static str,
    pub(super) assign_any: &'static str,
    pub(super) order_id: &'static str,
    pub(super) and_more: &'static str,

    // Active deliveries.
    pub(super) nobody_carries: &'static str,
    pub(super) unassign: &'static str,
    pub(super) time_left: &'static str,

    // Couriers.
    pub(super) free: &'static str,
    pub(super) paused: &'static str,
    pub(super) still_carries: &'static str,
    pub(super) nobody_idle: &'static str,
    pub(super) deliveries: Forms,
    pub(super) pause: &'static str,
    pub(super) resume: &'static str,
    pub(super) add_courier: &'static str,
    pub(super) add: &'static str,
    pub(super) name: &'static str,
    pub(super) phone: &'static str,
    pub(super) phone_rule: &'static str,
    pub(super) transport: &'static str,
    on_foot: &'static str,
    scooter: &'static str,
    car: &'static str,

    // Message pages, and the note for readers without JavaScript.
    pub(super) needs_script: &'static str,
    pub(super) trouble_title: &'static str,
    pub(super) trouble_text: &'static str,
    pub(super) no_page_title: &'static str,
    pub(super) no_page_text: &'static str,
    pub(super) to_the_board: &'static str,

    pub(super) live: LiveWords,
}

/// The texts that the board's script shows.
#[derive(Serialize)]
pub(super) struct LiveWords {
    units: [&'static str; 4],
    pub(super) until: &'static str,
    pub(super) late: &'static str,
    live: &'static str,
    cut: &'static str,
    back: &'static str,
    unreachable: &'static str,
    assigned: &'static str,
    unassigned: &'static str,
    changed: &'static str,
    added: &'static str,
    /// The messages of problems, by the part of the problem's type after `/docs#`.
    #[serde(serialize_with = "as_map")]
    problems: [(&'static str, &'static str); 8],
    /// The rules of the form's fields, by the name of the field.
    #[serde(serialize_with = "as_map")]
    fields: [(&'static str, &'static str); 3],
}

fn as_map<const N: usize, S: serde::Serializer>(
    pairs: &[(&'static str, &'static str); N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    pairs.iter().copied().collect::<BTreeMap<_, _>>().serialize(serializer)
}

impl Words {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &ENGLISH,
            Lang::Ru => &RUSSIAN,
        }
    }

    pub(super) fn transport_of(&self, transport: Transport) -> &'static str {
        match transport {
            Transport::OnFoot => self.on_foot,
            Transport::Scooter => self.scooter,
            Transport::Car => self.car,
        }
    }
}

static ENGLISH: Words = Words {
    orders: "Orders",
    couriers: "Couriers",
    rejected: "Rejected",
    flow: "Flow",
    api: "API",
    api_title: "API of the courier service",
    api_text: "All calls of this service, as OpenAPI 3.1:",

    figures: "Statistics",
    orders_wait: ["order waiting", "orders waiting", "orders waiting"],
    oldest: ", oldest {}",
    on_the_road: "Out for delivery",
    on_the_road_late: "out for delivery, {} late",
    couriers_free: ["courier free", "couriers free", "couriers free"],
    completed: "completed in total",
    completed_mean: "completed in total; mean time in 24 h: {}",
    on_time: "completed on time",
    released: "released: long overdue, not completed",
    completed_without_courier: "completed without a courier",

    waiting: "Waiting",
    held: "held",
    held_since: "Unassigned manually {} ago: assign a courier",
    place_in_queue: "Number {} in the queue",
    next_in_queue: "Next in the queue",
    all_carry: [
        "No courier is free: {} carries",
        "No courier is free: {} carry",
        "No courier is free: {} carry",
    ],
    and_paused: [", {} is paused", ", {} are paused", ", {} are paused"],
    all_paused: "Every courier is paused",
    no_couriers: "No courier is registered yet",
    nobody_waits: "No orders are waiting.",
    assign: "Assign",
    assign_any: "Assign an order by its id",
    order_id: "Order id",
    and_more: "and {} more",

    nobody_carries: "No active deliveries.",
    unassign: "Unassign",
    time_left: "time left",

    free: "free",
    paused: "paused",
    still_carries: "Still carries order",
    nobody_idle: "All couriers are out for delivery.",
    deliveries: ["{} delivery", "{} deliveries", "{} deliveries"],
    pause: "Pause",
    resume: "Resume",
    add_courier: "Add a courier",
    add: "Add",
    name: "Name",
    phone: "Phone",
    phone_rule: "+ and 10 to 15 digits",
    transport: "Transport",
    on_foot: "on foot",
    scooter: "scooter",
    car: "car",

    needs_script: "Without JavaScript the board is not updated: reload the page to see changes. To assign orders, or to add and pause couriers, use the API.",
    trouble_title: "The board cannot be shown",
    trouble_text: "The database does not answer. No data is lost. Try again in a few seconds.",
    no_page_title: "Page not found",
    no_page_text: "There is no page with this address. Check the address.",
    to_the_board: "Open the board",

    live: LiveWords {
        units: ["s", "min", "h", "d"],
        until: "deadline {}",
        late: "{} late",
        live: "live",
        cut: "no live data since {}",
        back: "live data restored",
        unreachable: "The courier service does not answer. The change may or may not have been made: check the board when it is live again.",
        assigned: "Courier assigned",
        unassigned: "Courier unassigned, the order is held",
        changed: "Courier status changed",
        added: "Courier added",
        problems: [
            ("no-courier-available", "No courier is free. Nothing was changed."),
            ("already-assigned", "This order already has a courier."),
            ("order-ended", "This order is completed or cancelled and cannot be assigned."),
            ("not-assigned", "This order has no courier."),
            ("no-such-order", "The courier service has no such order. Check the order id."),
            ("phone-taken", "Another courier has this phone number."),
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
    },
};

static RUSSIAN: Words = Words {
    orders: "Заказы",
    couriers: "Курьеры",
    rejected: "Отклонённые",
    flow: "Поток",
    api: "API",
    api_title: "API сервиса курьеров",
    api_text: "Все вызовы сервиса в формате OpenAPI 3.1 (на английском):",

    figures: "Показатели",
    orders_wait: ["заказ ожидает", "заказа ожидают", "заказов ожидают"],
    oldest: ", самый давний — {}",
    on_the_road: "В пути",
    on_the_road_late: "в пути, опаздывают: {}",
    couriers_free: ["курьер свободен", "курьера свободны", "курьеров свободно"],
    completed: "выполнено всего",
    completed_mean: "выполнено всего; среднее время за 24 ч: {}",
    on_time: "выполнено вовремя",
    released: "снято по просрочке, не выполнено",
    completed_without_courier: "выполнено без курьера",

    waiting: "Ожидают",
    held: "отложен",
    held_since: "Снят с курьера вручную {} назад: назначьте курьера",
    place_in_queue: "В очереди {}-й",
    next_in_queue: "Следующий в очереди",
    all_carry: [
        "Свободных нет: в пути {} курьер",
        "Свободных нет: в пути {} курьера",
        "Свободных нет: в пути {} курьеров",
    ],
    and_paused: [", {} на паузе", ", {} на паузе", ", {} на паузе"],
    all_paused: "Все курьеры на паузе",
    no_couriers: "Курьеров пока нет",
    nobody_waits: "Ожидающих заказов нет.",
    assign: "Назначить",
    assign_any: "Назначить по номеру заказа",
    order_id: "Номер заказа",
    and_more: "и ещё {}",

    nobody_carries: "Активных доставок нет.",
    unassign: "Снять",
    time_left: "осталось времени",

    free: "свободен",
    paused: "на паузе",
    still_carries: "Ещё везёт заказ",
    nobody_idle: "Все курьеры в пути.",
    deliveries: ["{} доставка", "{} доставки", "{} доставок"],
    pause: "На паузу",
    resume: "Снять с паузы",
    add_courier: "Добавить курьера",
    add: "Добавить",
    name: "Имя",
    phone: "Телефон",
    phone_rule: "+ и от 10 до 15 цифр",
    transport: "Транспорт",
    on_foot: "пешком",
    scooter: "самокат",
    car: "машина",

    needs_script: "Без JavaScript панель не обновляется: перезагрузите страницу, чтобы увидеть изменения. Назначать заказы, добавлять курьеров и ставить их на паузу можно через API.",
    trouble_title: "Не удалось показать панель",
    trouble_text: "База данных не отвечает. Данные не потеряны. Повторите через несколько секунд.",
    no_page_title: "Страница не найдена",
    no_page_text: "Страницы с таким адресом нет. Проверьте адрес.",
    to_the_board: "Открыть панель",

    live: LiveWords {
        units: ["с", "мин", "ч", "д"],
        until: "доставить до {}",
        late: "опаздывает на {}",
        live: "онлайн",
        cut: "нет свежих данных с {}",
        back: "связь восстановлена",
        unreachable: "Сервис курьеров не отвечает. Выполнено ли изменение, неизвестно: проверьте панель, когда связь восстановится.",
        assigned: "Курьер назначен",
        unassigned: "Курьер снят, заказ отложен",
        changed: "Статус курьера изменён",
        added: "Курьер добавлен",
        problems: [
            ("no-courier-available", "Свободных курьеров нет. Ничего не изменилось."),
            ("already-assigned", "У этого заказа уже есть курьер."),
            ("order-ended", "Заказ выполнен или отменён: назначить курьера нельзя."),
            ("not-assigned", "У этого заказа нет курьера."),
            ("no-such-order", "Сервис курьеров не знает такого заказа. Проверьте номер."),
            ("phone-taken", "Этот телефон уже указан у другого курьера."),
            ("database-unavailable", "База данных не отвечает; попробуйте чуть позже."),
            ("too-many-requests", "Сейчас слишком много запросов; попробуйте ещё раз."),
        ],
        fields: [
            ("name", "Укажите имя не длиннее 255 байт."),
            ("phone", "Укажите телефон: + и от 10 до 15 цифр."),
            ("order_id", "Номер заказа: от 1 до 100 байт, без пробелов в начале и в конце."),
        ],
    },
};
