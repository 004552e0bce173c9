//! The texts of the board, in English and Russian. The texts that its script shows are in
//! [`live_words`](super::live_words).

use chassis::web::{Lang, words::Forms};

use crate::{delivery::DeliveryState, read::List};

/// The texts of the board that the server renders. `{}` is replaced by a value.
pub(super) struct BoardWords {
    // The search, the range of time and the keys.
    pub(super) search: &'static str,
    pub(super) search_hint: &'static str,
    pub(super) find: &'static str,
    pub(super) results: &'static str,
    pub(super) found_for: &'static str,
    pub(super) nothing_found: &'static str,
    pub(super) orders: &'static str,
    pub(super) couriers: &'static str,
    pub(super) range: &'static str,
    pub(super) range_all: &'static str,
    pub(super) range_quarter: &'static str,
    pub(super) range_hour: &'static str,
    pub(super) range_today: &'static str,
    pub(super) keys: &'static str,
    pub(super) key_texts: [(&'static str, &'static str); 14],
    pub(super) close: &'static str,

    // The figures, which are filters.
    pub(super) filters: &'static str,
    pub(super) totals: &'static str,
    pub(super) orders_wait: Forms,
    pub(super) oldest: &'static str,
    pub(super) held: Forms,
    pub(super) overdue: Forms,
    pub(super) released: Forms,
    pub(super) on_road: Forms,
    pub(super) free: Forms,
    pub(super) paused: Forms,
    pub(super) retired: Forms,
    pub(super) completed: &'static str,
    pub(super) completed_mean: &'static str,
    pub(super) on_time: &'static str,
    pub(super) without_courier: &'static str,

    // Lists.
    list_titles: [&'static str; 8],
    list_empty: [&'static str; 8],
    pub(super) and_more: &'static str,
    pub(super) more: &'static str,
    pub(super) from_start: &'static str,
    pub(super) all_lists: &'static str,

    // Rows.
    states: [&'static str; 8],
    pub(super) held_manually: &'static str,
    pub(super) released_from: &'static str,
    pub(super) select: &'static str,
    pub(super) assign: &'static str,
    pub(super) assign_to: &'static str,
    pub(super) move_to: &'static str,
    pub(super) unassign: &'static str,
    pub(super) end: &'static str,
    pub(super) end_title: &'static str,
    pub(super) retire: &'static str,
    pub(super) restore: &'static str,
    pub(super) busy: &'static str,
    pub(super) retired_state: &'static str,

    // The chooser of couriers, the selected rows, and what was done.
    pub(super) choose_title: &'static str,
    pub(super) choose_filter: &'static str,
    pub(super) choose_hint: &'static str,
    pub(super) cancel: &'static str,
    pub(super) selected: &'static str,
    pub(super) clear: &'static str,
    pub(super) done: &'static str,
}

impl BoardWords {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &ENGLISH,
            Lang::Ru => &RUSSIAN,
        }
    }

    pub(super) fn title_of(&self, list: List) -> &'static str {
        self.list_titles[Self::place(list)]
    }

    pub(super) fn empty(&self, list: List) -> &'static str {
        self.list_empty[Self::place(list)]
    }

    /// Returns the place of a list in [`List::ALL`], in which the texts are sorted.
    fn place(list: List) -> usize {
        List::ALL.iter().position(|one| *one == list).expect("ALL has every list")
    }

    pub(super) fn state(&self, state: DeliveryState) -> &'static str {
        let place = match state {
            DeliveryState::Expected => 0,
            DeliveryState::Waiting => 1,
            DeliveryState::Held => 2,
            DeliveryState::Assigned => 3,
            DeliveryState::Overdue => 4,
            DeliveryState::Released => 5,
            DeliveryState::Completed => 6,
            DeliveryState::Cancelled => 7,
        };
        self.states[place]
    }

    /// Returns the texts of all states, by their words in JSON.
    pub(super) fn states(&self) -> [(&'static str, &'static str); 12] {
        [
            ("expected", self.states[0]),
            ("waiting", self.states[1]),
            ("held", self.states[2]),
            ("assigned", self.states[3]),
            ("overdue", self.states[4]),
            ("released", self.states[5]),
            ("completed", self.states[6]),
            ("cancelled", self.states[7]),
            ("available", self.free[0]),
            ("busy", self.busy),
            ("paused", self.paused[0]),
            ("retired", self.retired_state),
        ]
    }
}

static ENGLISH: BoardWords = BoardWords {
    search: "Search orders, couriers and phones",
    search_hint: "Order, courier or phone",
    find: "Search",
    results: "Search results",
    found_for: "Found for “{}”",
    nothing_found: "Nothing was found. Check the spelling: the search looks for the beginning of an order id, of a name or of a phone number.",
    orders: "Orders",
    couriers: "Couriers",
    range: "Time range",
    range_all: "all",
    range_quarter: "15 min",
    range_hour: "1 h",
    range_today: "today (UTC)",
    keys: "Keys",
    key_texts: [
        ("/", "search; Enter opens the first result, Esc clears the field"),
        ("↑ ↓", "previous or next row"),
        ("← →", "list on the left or on the right"),
        ("Enter", "open the order or the courier"),
        ("A", "assign the order to the first free courier"),
        ("T", "choose a courier: assign the order to them, or move it"),
        ("U", "unassign the order and hold it"),
        ("C", "complete or cancel the order: opens its page"),
        ("P", "pause or resume the courier"),
        ("R", "retire or restore the courier"),
        ("X", "select the row; then A, U, P and R apply to all selected rows"),
        ("Z", "undo the last action"),
        ("Esc", "clear the selection"),
        ("?", "this list"),
    ],
    close: "Close",

    filters: "Filters",
    totals: "Totals",
    orders_wait: ["order waiting", "orders waiting", "orders waiting"],
    oldest: ", oldest {}",
    held: ["held", "held", "held"],
    overdue: ["overdue", "overdue", "overdue"],
    released: ["released, not completed", "released, not completed", "released, not completed"],
    on_road: ["out for delivery", "out for delivery", "out for delivery"],
    free: ["free", "free", "free"],
    paused: ["paused", "paused", "paused"],
    retired: ["retired", "retired", "retired"],
    completed: "completed in total",
    completed_mean: "completed in total; mean time in 24 h: {}",
    on_time: "completed on time",
    without_courier: "completed without a courier",

    list_titles: [
        "Waiting",
        "Held",
        "Overdue",
        "Released",
        "Out for delivery",
        "Free",
        "Paused",
        "Retired",
    ],
    list_empty: [
        "No orders are waiting.",
        "No orders are held.",
        "No deliveries are overdue.",
        "No deliveries are released.",
        "No active deliveries.",
        "No courier is free.",
        "No courier is paused.",
        "No courier is retired.",
    ],
    and_more: "and {} more",
    more: "more",
    from_start: "Back to the start of the list",
    all_lists: "Show all lists",

    states: [
        "not created yet",
        "waiting",
        "held",
        "out for delivery",
        "overdue",
        "released",
        "completed",
        "cancelled",
    ],
    held_manually: "Unassigned manually {} ago: assign a courier",
    released_from: "Released {} ago, long after its deadline: assign a courier",
    select: "Select",
    assign: "Assign",
    assign_to: "Assign to…",
    move_to: "Move to…",
    unassign: "Unassign",
    end: "Complete…",
    end_title: "Complete or cancel the order on its page",
    retire: "Retire",
    restore: "Restore",
    busy: "carries an order",
    retired_state: "retired",

    choose_title: "Choose a free courier",
    choose_filter: "Name or phone",
    choose_hint: "The first courier is the one whom the next order would get.",
    cancel: "Cancel",
    selected: "Selected rows",
    clear: "Clear selection",
    done: "Done",
};

static RUSSIAN: BoardWords = BoardWords {
    search: "Поиск заказов, курьеров и телефонов",
    search_hint: "Заказ, курьер или телефон",
    find: "Найти",
    results: "Результаты поиска",
    found_for: "Найдено по запросу «{}»",
    nothing_found: "Ничего не найдено. Проверьте написание: поиск идёт по началу номера заказа, имени или телефона.",
    orders: "Заказы",
    couriers: "Курьеры",
    range: "Период",
    range_all: "все",
    range_quarter: "15 мин",
    range_hour: "1 ч",
    range_today: "сегодня (UTC)",
    keys: "Клавиши",
    key_texts: [
        ("/", "поиск; Enter открывает первый результат, Esc очищает поле"),
        ("↑ ↓", "предыдущая или следующая строка"),
        ("← →", "список слева или справа"),
        ("Enter", "открыть заказ или курьера"),
        ("A", "назначить заказ первому свободному курьеру"),
        ("T", "выбрать курьера: назначить ему заказ или передать"),
        ("U", "снять заказ с курьера и отложить"),
        ("C", "завершить или отменить заказ: откроется его страница"),
        ("P", "поставить курьера на паузу или снять с неё"),
        ("R", "исключить курьера или вернуть"),
        ("X", "выбрать строку; тогда A, U, P и R действуют на все выбранные"),
        ("Z", "отменить последнее действие"),
        ("Esc", "снять выбор"),
        ("?", "этот список"),
    ],
    close: "Закрыть",

    filters: "Фильтры",
    totals: "Итоги",
    orders_wait: ["заказ ожидает", "заказа ожидают", "заказов ожидают"],
    oldest: ", самый давний — {}",
    held: ["отложен", "отложено", "отложено"],
    overdue: ["опаздывает", "опаздывают", "опаздывают"],
    released: [
        "снят по просрочке, не выполнен",
        "сняты по просрочке, не выполнены",
        "сняты по просрочке, не выполнены",
    ],
    on_road: ["в пути", "в пути", "в пути"],
    free: ["свободен", "свободны", "свободны"],
    paused: ["на паузе", "на паузе", "на паузе"],
    retired: ["исключён", "исключены", "исключены"],
    completed: "выполнено всего",
    completed_mean: "выполнено всего; среднее время за 24 ч: {}",
    on_time: "выполнено вовремя",
    without_courier: "выполнено без курьера",

    list_titles: [
        "Ожидают",
        "Отложены",
        "Опаздывают",
        "Сняты по просрочке",
        "В пути",
        "Свободны",
        "На паузе",
        "Исключены",
    ],
    list_empty: [
        "Ожидающих заказов нет.",
        "Отложенных заказов нет.",
        "Опаздывающих доставок нет.",
        "Снятых по просрочке доставок нет.",
        "Активных доставок нет.",
        "Свободных курьеров нет.",
        "Курьеров на паузе нет.",
        "Исключённых курьеров нет.",
    ],
    and_more: "и ещё {}",
    more: "ещё",
    from_start: "К началу списка",
    all_lists: "Показать все списки",

    states: [
        "ещё не создан",
        "ожидает",
        "отложен",
        "в пути",
        "опаздывает",
        "снят по просрочке",
        "выполнен",
        "отменён",
    ],
    held_manually: "Снят с курьера вручную {} назад: назначьте курьера",
    released_from: "Снят по просрочке {} назад: назначьте курьера",
    select: "Выбрать",
    assign: "Назначить",
    assign_to: "Назначить…",
    move_to: "Передать…",
    unassign: "Снять",
    end: "Завершить…",
    end_title: "Завершить или отменить заказ на его странице",
    retire: "Исключить",
    restore: "Вернуть",
    busy: "в пути",
    retired_state: "исключён",

    choose_title: "Выберите свободного курьера",
    choose_filter: "Имя или телефон",
    choose_hint: "Первый в списке — тот, кому достался бы следующий заказ.",
    cancel: "Отмена",
    selected: "Выбранные строки",
    clear: "Снять выбор",
    done: "Выполнено",
};
