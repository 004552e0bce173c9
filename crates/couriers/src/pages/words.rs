//! The texts that the pages share, in English and Russian.
//!
//! Each language is a value of [`Words`], so a missing translation does not compile. The Russian
//! texts are not word-for-word translations. The texts of the board are in
//! [`board_words`](super::board_words), those of its script in [`live_words`](super::live_words).

use chassis::web::{Lang, words::Forms};

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

    // The queue.
    pub(super) place_in_queue: &'static str,
    pub(super) next_in_queue: &'static str,
    pub(super) all_carry: Forms,
    pub(super) and_paused: Forms,
    pub(super) all_paused: &'static str,
    pub(super) no_couriers: &'static str,
    pub(super) assign_any: &'static str,
    pub(super) order_id: &'static str,

    // Deliveries.
    pub(super) time_left: &'static str,

    // Couriers.
    pub(super) paused: &'static str,
    pub(super) still_carries: &'static str,
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
    assign_any: "Assign an order by its id",
    order_id: "Order id",

    time_left: "time left",

    paused: "paused",
    still_carries: "Still carries order",
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
};

static RUSSIAN: Words = Words {
    orders: "Заказы",
    couriers: "Курьеры",
    rejected: "Отклонённые",
    flow: "Поток",
    api: "API",
    api_title: "API сервиса курьеров",
    api_text: "Все вызовы сервиса в формате OpenAPI 3.1 (на английском):",

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
    assign_any: "Назначить по номеру заказа",
    order_id: "Номер заказа",

    time_left: "осталось времени",

    paused: "на паузе",
    still_carries: "Ещё везёт заказ",
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
};
