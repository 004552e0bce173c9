//! The names, cities and streets of the orders, in four languages and five countries.
//!
//! Data only. The people are invented. The phone numbers are in ranges that a country reserves for
//! fiction: 555-01xx in the United States, and the ranges of Ofcom and of the Bundesnetzagentur.
//! Russia and Israel have no such range; there the numbers begin with 000. In a pattern, `#` is a
//! random digit and `@` a random capital letter.

/// A country with one language.
pub(super) struct Country {
    /// The order's `locale`, also the language of names, streets and goods.
    pub(super) locale: &'static str,
    pub(super) currency: &'static str,
    /// The price in this currency of goods that cost 100 United States dollars.
    pub(super) price_of_100: i64,
    /// Given names and family names, one list of pairs for each grammatical gender.
    pub(super) people: [Names; 2],
    pub(super) cities: &'static [City],
    /// The text between the house number and the number of the flat.
    pub(super) flat: &'static str,
    /// True if the house number is before the street.
    pub(super) number_first: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) given: &'static [Name],
    pub(super) family: &'static [Name],
}

/// A name as it is written, and in Latin letters for e-mail addresses and customer ids.
pub(super) type Name = (&'static str, &'static str);

#[derive(Clone, Copy)]
pub(super) struct City {
    pub(super) name: &'static str,
    pub(super) region: &'static str,
    pub(super) zip: &'static str,
    pub(super) phone: &'static str,
    pub(super) streets: &'static [&'static str],
}

const fn city(
    name: &'static str,
    region: &'static str,
    zip: &'static str,
    phone: &'static str,
    streets: &'static [&'static str],
) -> City {
    City { name, region, zip, phone, streets }
}

/// The countries of the customers; a country that is listed twice has twice as many of them.
pub(super) static COUNTRIES: [&Country; 8] = [
    &UNITED_STATES, &UNITED_STATES, &RUSSIA, &RUSSIA, &RUSSIA, &ISRAEL, &GERMANY, &UNITED_KINGDOM,
];

static UNITED_STATES: Country = Country {
    locale: "en",
    currency: "USD",
    price_of_100: 100,
    people: [
        Names { given: ENGLISH_WOMEN, family: ENGLISH_FAMILIES },
        Names { given: ENGLISH_MEN, family: ENGLISH_FAMILIES },
    ],
    cities: &[
        city("Portland", "Oregon", "972##", "+150355501##", &["NW Everett St", "SE Hawthorne Blvd", "N Mississippi Ave", "SW Vista Ave"]),
        city("Austin", "Texas", "787##", "+151255501##", &["Guadalupe St", "Barton Springs Rd", "E 6th St", "Manor Rd"]),
        city("Chicago", "Illinois", "606##", "+131255501##", &["N Clark St", "W Belmont Ave", "S Halsted St", "N Damen Ave"]),
        city("Boston", "Massachusetts", "021##", "+161755501##", &["Boylston St", "Commonwealth Ave", "Tremont St", "Beacon St"]),
        city("Denver", "Colorado", "802##", "+130355501##", &["E Colfax Ave", "Larimer St", "S Pearl St", "Tennyson St"]),
    ],
    flat: ", Apt ",
    number_first: true,
};

static UNITED_KINGDOM: Country = Country {
    locale: "en",
    currency: "GBP",
    price_of_100: 80,
    people: [
        Names { given: ENGLISH_WOMEN, family: ENGLISH_FAMILIES },
        Names { given: ENGLISH_MEN, family: ENGLISH_FAMILIES },
    ],
    cities: &[
        city("London", "Greater London", "N# #@@", "+442079460###", &["Holloway Road", "Essex Road", "Camden Passage", "Upper Street"]),
        city("Leeds", "West Yorkshire", "LS# #@@", "+441134960###", &["Otley Road", "Briggate", "Kirkgate", "Harrogate Road"]),
        city("Manchester", "Greater Manchester", "M# #@@", "+441614960###", &["Oxford Road", "Deansgate", "Wilbraham Road", "Barlow Moor Road"]),
        city("Edinburgh", "City of Edinburgh", "EH# #@@", "+441314960###", &["Leith Walk", "Morningside Road", "Clerk Street", "Raeburn Place"]),
    ],
    flat: ", Flat ",
    number_first: true,
};

static RUSSIA: Country = Country {
    locale: "ru",
    currency: "RUB",
    price_of_100: 9_000,
    people: [
        Names { given: RUSSIAN_WOMEN, family: RUSSIAN_FAMILIES_OF_WOMEN },
        Names { given: RUSSIAN_MEN, family: RUSSIAN_FAMILIES_OF_MEN },
    ],
    cities: &[
        city("Москва", "Москва", "1#####", "+7900000####", &["ул. Тверская", "Ленинский пр-т", "ул. Арбат", "ул. Покровка"]),
        city("Санкт-Петербург", "Санкт-Петербург", "19####", "+7900000####", &["Невский пр-т", "ул. Рубинштейна", "ул. Маяковского", "Каменноостровский пр-т"]),
        city("Казань", "Республика Татарстан", "420###", "+7900000####", &["ул. Баумана", "ул. Пушкина", "пр-т Победы", "ул. Декабристов"]),
        city("Новосибирск", "Новосибирская область", "630###", "+7900000####", &["Красный пр-т", "ул. Ленина", "ул. Гоголя", "ул. Фрунзе"]),
        city("Екатеринбург", "Свердловская область", "620###", "+7900000####", &["ул. Малышева", "ул. 8 Марта", "ул. Вайнера", "ул. Мира"]),
        city("Сочи", "Краснодарский край", "354###", "+7900000####", &["ул. Навагинская", "Курортный пр-т", "ул. Горького", "ул. Роз"]),
    ],
    flat: ", кв. ",
    number_first: false,
};

static ISRAEL: Country = Country {
    locale: "he",
    currency: "ILS",
    price_of_100: 370,
    people: [
        Names { given: HEBREW_WOMEN, family: HEBREW_FAMILIES },
        Names { given: HEBREW_MEN, family: HEBREW_FAMILIES },
    ],
    cities: &[
        city("קריית מוצקין", "הקריות", "26#####", "+97250000####", &["שדרות ירושלים", "שדרות בן גוריון", "רחוב השקמה", "רחוב הגפן"]),
        city("חיפה", "חיפה", "31#####", "+97250000####", &["שדרות הנשיא", "רחוב הרצל", "דרך הים", "רחוב מסדה"]),
        city("תל אביב", "גוש דן", "6######", "+97250000####", &["רחוב דיזנגוף", "שדרות רוטשילד", "רחוב אלנבי", "רחוב בוגרשוב"]),
        city("ירושלים", "ירושלים", "9######", "+97250000####", &["רחוב יפו", "רחוב עמק רפאים", "רחוב עזה", "רחוב אגריפס"]),
    ],
    flat: ", דירה ",
    number_first: false,
};

static GERMANY: Country = Country {
    locale: "de",
    currency: "EUR",
    price_of_100: 92,
    people: [
        Names { given: GERMAN_WOMEN, family: GERMAN_FAMILIES },
        Names { given: GERMAN_MEN, family: GERMAN_FAMILIES },
    ],
    cities: &[
        city("Berlin", "Berlin", "10###", "+493023125###", &["Kastanienallee", "Schönhauser Allee", "Sonnenallee", "Bergmannstraße"]),
        city("Hamburg", "Hamburg", "22###", "+494066969###", &["Eppendorfer Weg", "Große Elbstraße", "Mühlenkamp", "Lange Reihe"]),
        city("München", "Bayern", "80###", "+498999998###", &["Leopoldstraße", "Hohenzollernstraße", "Müllerstraße", "Lindwurmstraße"]),
        city("Köln", "Nordrhein-Westfalen", "50###", "+492214710###", &["Venloer Straße", "Aachener Straße", "Ehrenstraße", "Zülpicher Straße"]),
        city("Frankfurt am Main", "Hessen", "60###", "+496990009###", &["Berger Straße", "Schweizer Straße", "Leipziger Straße", "Oeder Weg"]),
    ],
    flat: ", Whg. ",
    number_first: false,
};

static ENGLISH_WOMEN: &[Name] = &[
    ("Alice", "alice"), ("Chloe", "chloe"), ("Emma", "emma"), ("Grace", "grace"), ("Hannah", "hannah"),
    ("Maeve", "maeve"), ("Naomi", "naomi"), ("Olivia", "olivia"), ("Ruth", "ruth"), ("Zoë", "zoe"),
];
static ENGLISH_MEN: &[Name] = &[
    ("Adam", "adam"), ("Ben", "ben"), ("Daniel", "daniel"), ("Ethan", "ethan"), ("Henry", "henry"),
    ("James", "james"), ("Liam", "liam"), ("Noah", "noah"), ("Owen", "owen"), ("Theo", "theo"),
];
static ENGLISH_FAMILIES: &[Name] = &[
    ("Baker", "baker"), ("Carter", "carter"), ("Dawson", "dawson"), ("Ellis", "ellis"), ("Foster", "foster"),
    ("Hughes", "hughes"), ("Lowell", "lowell"), ("Marsh", "marsh"), ("O'Connor", "oconnor"), ("Palmer", "palmer"),
    ("Reed", "reed"), ("Shaw", "shaw"), ("Turner", "turner"), ("Walsh", "walsh"), ("Young", "young"),
];
static RUSSIAN_WOMEN: &[Name] = &[
    ("Алёна", "alyona"), ("Анна", "anna"), ("Вера", "vera"), ("Дарья", "darya"), ("Екатерина", "ekaterina"),
    ("Ирина", "irina"), ("Мария", "maria"), ("Наталья", "natalya"), ("Ольга", "olga"), ("Юлия", "yulia"),
];
static RUSSIAN_MEN: &[Name] = &[
    ("Алексей", "aleksey"), ("Антон", "anton"), ("Борис", "boris"), ("Дмитрий", "dmitry"), ("Иван", "ivan"),
    ("Максим", "maksim"), ("Николай", "nikolay"), ("Павел", "pavel"), ("Сергей", "sergey"), ("Фёдор", "fyodor"),
];
static RUSSIAN_FAMILIES_OF_WOMEN: &[Name] = &[
    ("Белова", "belova"), ("Волкова", "volkova"), ("Громова", "gromova"), ("Зайцева", "zaytseva"), ("Иванова", "ivanova"),
    ("Козлова", "kozlova"), ("Лебедева", "lebedeva"), ("Морозова", "morozova"), ("Новикова", "novikova"), ("Орлова", "orlova"),
    ("Петрова", "petrova"), ("Соколова", "sokolova"), ("Тихонова", "tikhonova"), ("Фёдорова", "fyodorova"),
];
static RUSSIAN_FAMILIES_OF_MEN: &[Name] = &[
    ("Белов", "belov"), ("Волков", "volkov"), ("Громов", "gromov"), ("Зайцев", "zaytsev"), ("Иванов", "ivanov"),
    ("Козлов", "kozlov"), ("Лебедев", "lebedev"), ("Морозов", "morozov"), ("Новиков", "novikov"), ("Орлов", "orlov"),
    ("Петров", "petrov"), ("Соколов", "sokolov"), ("Тихонов", "tikhonov"), ("Фёдоров", "fyodorov"),
];
static HEBREW_WOMEN: &[Name] = &[
    ("נועה", "noa"), ("תמר", "tamar"), ("מיכל", "michal"), ("שירה", "shira"), ("יעל", "yael"), ("רותם", "rotem"), ("איילת", "ayelet"),
];
static HEBREW_MEN: &[Name] = &[
    ("דוד", "david"), ("איתי", "itay"), ("יונתן", "yonatan"), ("אורי", "uri"), ("עומר", "omer"), ("גיל", "gil"), ("אלון", "alon"),
];
static HEBREW_FAMILIES: &[Name] = &[
    ("כהן", "cohen"), ("לוי", "levi"), ("מזרחי", "mizrahi"), ("פרץ", "peretz"), ("ביטון", "biton"), ("אברהם", "avraham"),
    ("פרידמן", "friedman"), ("שפירא", "shapira"), ("אזולאי", "azulay"), ("ברק", "barak"),
];
static GERMAN_WOMEN: &[Name] = &[
    ("Anja", "anja"), ("Brigitte", "brigitte"), ("Frieda", "frieda"), ("Jördis", "joerdis"), ("Katrin", "katrin"),
    ("Lena", "lena"), ("Marlene", "marlene"), ("Sabine", "sabine"),
];
static GERMAN_MEN: &[Name] = &[
    ("Björn", "bjoern"), ("Felix", "felix"), ("Jonas", "jonas"), ("Jürgen", "juergen"), ("Lukas", "lukas"),
    ("Matthias", "matthias"), ("Paul", "paul"), ("Stefan", "stefan"),
];
static GERMAN_FAMILIES: &[Name] = &[
    ("Becker", "becker"), ("Fischer", "fischer"), ("Groß", "gross"), ("Hoffmann", "hoffmann"), ("Jäger", "jaeger"),
    ("Keller", "keller"), ("Müller", "mueller"), ("Neumann", "neumann"), ("Schäfer", "schaefer"), ("Vogel", "vogel"), ("Weiß", "weiss"),
];
