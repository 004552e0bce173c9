//! Every word of the board, in every language: the one catalogue.
//!
//! A language is a value of [`Words`], so a missing word does not compile. Russian is written for
//! Russian readers, not word for word. What the browser says goes along as [`LiveWords`].

use std::collections::BTreeMap;

use chassis::web::{Lang, words::Forms};
use serde::Serialize;

use crate::delivery::courier::Transport;

/// The words that the server writes. `{}` stands for a value.
pub(super) struct Words {
    // The frame.
    pub(super) orders: &'static str,
    pub(super) couriers: &'static str,
    pub(super) rejected: &'static str,
    pub(super) api: &'static str,
    pub(super) api_title: &'static str,
    pub(super) api_text: &'static str,

    // The figures.
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

    // The road.
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

    // Trouble.
    pub(super) needs_script: &'static str,
    pub(super) trouble_title: &'static str,
    pub(super) trouble_text: &'static str,
    pub(super) no_page_title: &'static str,
    pub(super) no_page_text: &'static str,
    pub(super) to_the_board: &'static str,

    pub(super) live: LiveWords,
}

/// The words that the browser writes.
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
    /// What a dispatcher may be refused, by the problem's type.
    #[serde(serialize_with = "as_map")]
    problems: [(&'static str, &'static str); 7],
    /// What is asked of a field, by its name.
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
    api: "API",
    api_title: "The API of the courier service",
    api_text: "Every call, what it takes and what it answers. For programs:",

    figures: "Figures",
    orders_wait: ["order waits", "orders wait", "orders wait"],
    oldest: ", oldest {}",
    on_the_road: "On the road",
    on_the_road_late: "on the road, {} late",
    couriers_free: ["courier free", "couriers free", "couriers free"],
    completed: "completed in all",
    completed_mean: "completed in all; mean {} in 24 h",
    on_time: "of them on time",
    released: "never completed: long overdue, the courier is free again",

    waiting: "Waiting",
    held: "held",
    held_since: "Unassigned by hand {} ago; waits for your decision",
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
    nobody_waits: "No order waits.",
    assign: "Assign",
    assign_any: "Assign an order by its id",
    order_id: "Order id",
    and_more: "and {} more",

    nobody_carries: "Nobody is on the road.",
    unassign: "Unassign",
    time_left: "time left",

    free: "free",
    paused: "paused",
    still_carries: "Gets no other order, still carries",
    nobody_idle: "Everybody is on the road.",
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

    needs_script: "Without JavaScript the board shows this moment; reload it for the next. To assign, pause and add, use the API.",
    trouble_title: "The board cannot be shown",
    trouble_text: "The database does not answer. Couriers and orders are safe in it; the board is back as soon as it is.",
    no_page_title: "Nothing is here",
    no_page_text: "There is no page with this address.",
    to_the_board: "To the board",

    live: LiveWords {
        units: ["s", "min", "h", "d"],
        until: "until {}",
        late: "{} late",
        live: "live",
        cut: "not live since {}",
        back: "live again",
        unreachable: "The courier service does not answer. Once it does, the board shows whether this was done.",
        assigned: "Assigned",
        unassigned: "Unassigned; the order is held",
        changed: "Changed",
        added: "Added",
        problems: [
            ("no-courier-available", "No courier is free. Nothing was changed."),
            ("already-assigned", "This order has a courier already."),
            ("order-ended", "This order is completed or cancelled: it needs no courier."),
            ("not-assigned", "This order has no courier."),
            ("no-such-order", "Nobody has told of such an order."),
            ("phone-taken", "Another courier has this phone number."),
            ("database-unavailable", "The database does not answer; try again in a moment."),
        ],
        fields: [
            ("name", "A courier needs a name, of at most 255 bytes."),
            ("phone", "A phone number is + and 10 to 15 digits."),
            ("order_id", "An order id is 1 to 100 bytes, without blanks around it."),
        ],
    },
};

static RUSSIAN: Words = Words {
    orders: "Заказы",
    couriers: "Курьеры",
    rejected: "Отклонённые",
    api: "API",
    api_title: "API сервиса курьеров",
    api_text: "Все вызовы: что принимают и что отвечают. Для программ:",

    figures: "Показатели",
    orders_wait: ["заказ ждёт", "заказа ждут", "заказов ждут"],
    oldest: ", первый {}",
    on_the_road: "В пути",
    on_the_road_late: "в пути, опаздывают: {}",
    couriers_free: ["курьер свободен", "курьера свободны", "курьеров свободно"],
    completed: "доставлено всего",
    completed_mean: "доставлено всего; за сутки в среднем {}",
    on_time: "из них вовремя",
    released: "так и не доставлено: срок давно вышел, курьер свободен",

    waiting: "Ждут",
    held: "отложен",
    held_since: "Снят вручную {} назад; ждёт вашего решения",
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
    nobody_waits: "Очереди нет.",
    assign: "Назначить",
    assign_any: "Назначить курьера на заказ",
    order_id: "Номер заказа",
    and_more: "и ещё {}",

    nobody_carries: "В пути никого.",
    unassign: "Снять",
    time_left: "осталось времени",

    free: "свободен",
    paused: "на паузе",
    still_carries: "Новых не получит, пока везёт",
    nobody_idle: "Все в пути.",
    deliveries: ["{} доставка", "{} доставки", "{} доставок"],
    pause: "Пауза",
    resume: "Вернуть",
    add_courier: "Добавить курьера",
    add: "Добавить",
    name: "Имя",
    phone: "Телефон",
    phone_rule: "+ и от 10 до 15 цифр",
    transport: "Транспорт",
    on_foot: "пешком",
    scooter: "самокат",
    car: "машина",

    needs_script: "Без JavaScript табло показывает этот миг; обновите страницу, чтобы увидеть следующий. Назначать, ставить на паузу и добавлять можно через API.",
    trouble_title: "Табло не показать",
    trouble_text: "База данных не отвечает. Курьеры и заказы в ней целы; табло вернётся вместе с ней.",
    no_page_title: "Здесь ничего нет",
    no_page_text: "Страницы с таким адресом нет.",
    to_the_board: "К табло",

    live: LiveWords {
        units: ["с", "мин", "ч", "д"],
        until: "до {}",
        late: "опаздывает на {}",
        live: "вживую",
        cut: "связи нет с {}",
        back: "связь восстановлена",
        unreachable: "Сервис курьеров не отвечает. Когда ответит, на табло будет видно, выполнено ли это.",
        assigned: "Назначен",
        unassigned: "Снят; заказ отложен",
        changed: "Изменено",
        added: "Добавлен",
        problems: [
            ("no-courier-available", "Свободных курьеров нет. Ничего не изменилось."),
            ("already-assigned", "У этого заказа уже есть курьер."),
            ("order-ended", "Заказ завершён или отменён: курьер ему не нужен."),
            ("not-assigned", "У этого заказа нет курьера."),
            ("no-such-order", "О таком заказе ничего не известно."),
            ("phone-taken", "Этот телефон уже у другого курьера."),
            ("database-unavailable", "База данных не отвечает; попробуйте чуть позже."),
        ],
        fields: [
            ("name", "Курьеру нужно имя, не длиннее 255 байт."),
            ("phone", "Телефон: + и от 10 до 15 цифр."),
            ("order_id", "Номер заказа: от 1 до 100 байт, без пробелов по краям."),
        ],
    },
};
