//! The goods: a catalogue in the customer's language, with prices that are the same in every order.
//! Brands are invented.

use super::{places::Country, rng::Rng};

/// The goods of one item of an order.
pub(super) struct Goods {
    pub(super) name: &'static str,
    pub(super) brand: &'static str,
    pub(super) size: &'static str,
    /// The article, which determines the price.
    pub(super) nm_id: i64,
    /// The article in one size.
    pub(super) chrt_id: i64,
    pub(super) price: i64,
}

struct Product {
    english: &'static str,
    russian: &'static str,
    hebrew: &'static str,
    german: &'static str,
    /// The price of an average brand, in United States dollars.
    price: i64,
    sizes: &'static [&'static str],
}

/// Returns random goods at their price in `country`.
pub(super) fn pick(rng: &mut Rng, country: &Country) -> Goods {
    let product_number = rng.below(PRODUCTS.len() as u64) as usize;
    let brand_number = rng.below(BRANDS.len() as u64) as usize;
    let product = &PRODUCTS[product_number];
    let size_number = rng.below(product.sizes.len() as u64) as usize;
    let article = (product_number * BRANDS.len() + brand_number) as i64;
    // The price is 70 to 160 per cent of the average price, and always the same for an article.
    let brand_percent = Rng::of(&[article as u64]).between(70, 160);
    Goods {
        name: match country.locale {
            "ru" => product.russian,
            "he" => product.hebrew,
            "de" => product.german,
            _ => product.english,
        },
        brand: BRANDS[brand_number],
        size: product.sizes[size_number],
        nm_id: 2_000_000 + article * 37,
        chrt_id: 9_000_000 + article * 16 + size_number as i64,
        price: (product.price * country.price_of_100 * brand_percent / 10_000).max(1),
    }
}

static BRANDS: [&str; 14] = [
    "Alder & Finch",
    "Bergliot",
    "Castellane",
    "Dromeda",
    "Estrela",
    "Fjällro",
    "Grisaille",
    "Halcyon",
    "Кедр",
    "Lumenta",
    "Морошка",
    "Nordvik",
    "Orso Blu",
    "Petit Nuage",
];

const ONE: &[&str] = &["0"];
const CLOTHES: &[&str] = &["XS", "S", "M", "L", "XL", "XXL"];
const SHOES: &[&str] = &["36", "37", "38", "39", "40", "41", "42", "43", "44", "45"];

const fn product(
    english: &'static str,
    russian: &'static str,
    hebrew: &'static str,
    german: &'static str,
    price: i64,
    sizes: &'static [&'static str],
) -> Product {
    Product { english, russian, hebrew, german, price, sizes }
}

#[rustfmt::skip] // A table with one row in a line.
static PRODUCTS: [Product; 28] = [
    product("Mascara", "Тушь для ресниц", "מסקרה", "Wimperntusche", 9, ONE),
    product("Lipstick", "Помада", "שפתון", "Lippenstift", 12, ONE),
    product("Hand cream", "Крем для рук", "קרם ידיים", "Handcreme", 7, ONE),
    product("Shampoo", "Шампунь", "שמפו", "Shampoo", 8, ONE),
    product("Wool sweater", "Шерстяной свитер", "סוודר צמר", "Wollpullover", 64, CLOTHES),
    product("Linen shirt", "Льняная рубашка", "חולצת פשתן", "Leinenhemd", 45, CLOTHES),
    product("T-shirt", "Футболка", "חולצת טריקו", "T-Shirt", 18, CLOTHES),
    product("Jeans", "Джинсы", "מכנסי ג'ינס", "Jeans", 59, CLOTHES),
    product("Raincoat", "Дождевик", "מעיל גשם", "Regenjacke", 82, CLOTHES),
    product("Summer dress", "Летнее платье", "שמלת קיץ", "Sommerkleid", 53, CLOTHES),
    product("Pyjamas", "Пижама", "פיג'מה", "Schlafanzug", 34, CLOTHES),
    product("Running shoes", "Кроссовки", "נעלי ריצה", "Laufschuhe", 96, SHOES),
    product("Leather boots", "Кожаные ботинки", "מגפי עור", "Lederstiefel", 138, SHOES),
    product("Slippers", "Тапочки", "נעלי בית", "Hausschuhe", 21, SHOES),
    product("Headphones", "Наушники", "אוזניות", "Kopfhörer", 74, ONE),
    product("Phone case", "Чехол для телефона", "כיסוי לטלפון", "Handyhülle", 15, ONE),
    product("Charging cable", "Кабель для зарядки", "כבל טעינה", "Ladekabel", 11, ONE),
    product("Desk lamp", "Настольная лампа", "מנורת שולחן", "Schreibtischlampe", 48, ONE),
    product("Teapot", "Заварочный чайник", "קומקום תה", "Teekanne", 32, ONE),
    product("Frying pan", "Сковорода", "מחבת", "Bratpfanne", 41, ONE),
    product("Coffee beans 1 kg", "Кофе в зёрнах 1 кг", "פולי קפה 1 ק\"ג", "Kaffeebohnen 1 kg", 19, ONE),
    product("Bed linen", "Постельное бельё", "מצעים", "Bettwäsche", 67, ONE),
    product("Bath towel", "Банное полотенце", "מגבת רחצה", "Badetuch", 23, ONE),
    product("Backpack", "Рюкзак", "תיק גב", "Rucksack", 71, ONE),
    product("Yoga mat", "Коврик для йоги", "מזרן יוגה", "Yogamatte", 29, ONE),
    product("Picture book", "Книжка с картинками", "ספר תמונות", "Bilderbuch", 14, ONE),
    product("Building blocks", "Конструктор", "קוביות משחק", "Bausteine", 37, ONE),
    product("Notebook", "Тетрадь", "מחברת", "Notizbuch", 6, ONE),
];
