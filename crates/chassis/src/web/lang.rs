//! The language of a page: its choice, and the format of numbers, times, durations and plurals.
//!
//! Texts are in [`words`](super::words) and in the services. In the browser, `Intl` formats the
//! same values.

use std::time::Duration;

use time::{OffsetDateTime, UtcOffset};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    En,
    Ru,
}

/// The plural form of a word after a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plural {
    /// 1, 21.
    One,
    /// 2 to 4, 22 to 24; only in Russian.
    Few,
    /// All others.
    Many,
}

/// Keeps a unit on the same line as its number.
const NBSP: char = '\u{a0}';

impl Lang {
    pub const ALL: [Self; 2] = [Self::En, Self::Ru];

    /// Chooses the language of a page: `?lang=` in its address, else the earlier choice (the
    /// `Cookie` header), else the browser's (`Accept-Language`), else English.
    pub fn choose(asked: Option<&str>, cookies: &str, accepted: &str) -> Self {
        let from_cookie = || {
            let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.filter(|(name, _)| *name == "lang").find_map(|(_, value)| Self::from_tag(value))
        };
        asked
            .and_then(Self::from_tag)
            .or_else(from_cookie)
            .or_else(|| most_wanted(accepted))
            .unwrap_or(Self::En)
    }

    /// Returns the value of the `Set-Cookie` header that stores this choice for a year.
    pub fn cookie(self) -> String {
        format!("lang={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly", self.tag())
    }

    /// Returns the language tag, as in `<html lang>` and `?lang=`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ru => "ru",
        }
    }

    /// Returns the label of the link that switches to this language.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::En => "EN",
            Self::Ru => "RU",
        }
    }

    /// Returns the name of the language, in that language.
    pub fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Ru => "Русский",
        }
    }

    /// Parses a tag such as `en`, `en-GB` or `ru_RU`. Returns `None` if the pages do not have this
    /// language.
    fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next()?;
        Self::ALL.into_iter().find(|lang| lang.tag().eq_ignore_ascii_case(primary))
    }

    /// Returns the plural form after the number `n`.
    pub fn plural(self, n: u64) -> Plural {
        match self {
            Self::En if n == 1 => Plural::One,
            Self::En => Plural::Many,
            Self::Ru => match (n % 10, n % 100) {
                (_, 11..=14) => Plural::Many,
                (1, _) => Plural::One,
                (2..=4, _) => Plural::Few,
                _ => Plural::Many,
            },
        }
    }

    /// Formats a number: `1,817` or `1 817`.
    pub fn number(self, n: impl Into<i128>) -> String {
        let n: i128 = n.into();
        let digits = n.unsigned_abs().to_string();
        let mut text = String::with_capacity(digits.len() * 2);
        if n < 0 {
            text.push('\u{2212}');
        }
        for (index, digit) in digits.char_indices() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(if self == Self::En { ',' } else { NBSP });
            }
            text.push(digit);
        }
        text
    }

    /// As [`number`](Self::number), for templates, which pass values by reference.
    pub fn amount(self, n: &i64) -> String {
        self.number(*n)
    }

    /// Formats a time to the minute: `26 Nov 2021, 06:22 UTC`.
    pub fn date_time(self, at: OffsetDateTime) -> String {
        let at = at.to_offset(UtcOffset::UTC);
        let (hour, minute) = (at.hour(), at.minute());
        format!("{}, {hour:02}:{minute:02}{NBSP}UTC", self.date(at))
    }

    /// Formats a time to the millisecond: `26 Nov 2021, 06:22:19.112 UTC`.
    pub fn exact_time(self, at: OffsetDateTime) -> String {
        let at = at.to_offset(UtcOffset::UTC);
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        let fraction = format!("{second:02}{}{:03}", self.decimal_point(), at.millisecond());
        format!("{}, {hour:02}:{minute:02}:{fraction}{NBSP}UTC", self.date(at))
    }

    /// Formats a time to the second: `26 Nov 2021, 06:22:19 UTC`.
    pub fn second_time(self, at: OffsetDateTime) -> String {
        let at = at.to_offset(UtcOffset::UTC);
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        format!("{}, {hour:02}:{minute:02}:{second:02}{NBSP}UTC", self.date(at))
    }

    /// Formats a number that is measured: with at most three digits, unless it is larger: `1,817`,
    /// `18.2`, `0.18`.
    pub fn decimal(self, value: f64) -> String {
        let (places, scale) = match value.abs() {
            ..9.995 => (2_u32, 100.0),
            ..99.95 => (1, 10.0),
            _ => (0, 1.0),
        };
        let scaled = (value * scale).round() as i128;
        let unit = 10_i128.pow(places);
        let sign = if scaled < 0 { "\u{2212}" } else { "" };
        let (whole, rest) = (scaled.abs() / unit, scaled.abs() % unit);
        let digits = format!("{rest:0width$}", width = places as usize);
        let digits = if rest == 0 { "" } else { digits.trim_end_matches('0') };
        let point =
            if digits.is_empty() { String::new() } else { self.decimal_point().to_string() };
        format!("{sign}{}{point}{digits}", self.number(whole))
    }

    fn date(self, at: OffsetDateTime) -> String {
        const EN: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        const RU: [&str; 12] = [
            "янв.",
            "февр.",
            "марта",
            "апр.",
            "мая",
            "июня",
            "июля",
            "авг.",
            "сент.",
            "окт.",
            "нояб.",
            "дек.",
        ];
        let names = if self == Self::En { EN } else { RU };
        let month = names[usize::from(u8::from(at.month())) - 1];
        format!("{}{NBSP}{month}{NBSP}{}", at.day(), at.year())
    }

    /// Formats the age of `since`: `3 s`, `2 min`, `5 h`, `4 d`. If clocks differ and `since` is in
    /// the future, the age is `0 s`.
    pub fn age(self, since: OffsetDateTime, now: OffsetDateTime) -> String {
        let seconds = (now - since).whole_seconds().max(0);
        let [s, min, h, d] = self.units();
        let (n, unit) = match seconds {
            0..60 => (seconds, s),
            60..3_600 => (seconds / 60, min),
            3_600..86_400 => (seconds / 3_600, h),
            _ => (seconds / 86_400, d),
        };
        format!("{}{NBSP}{unit}", self.number(n))
    }

    /// Returns the abbreviations of second, minute, hour and day.
    pub fn units(self) -> [&'static str; 4] {
        match self {
            Self::En => ["s", "min", "h", "d"],
            Self::Ru => ["с", "мин", "ч", "д"],
        }
    }

    /// Formats a duration: `4 µs`, `0.2 ms`, `12 ms`, `1.3 s`.
    pub fn span(self, took: Duration) -> String {
        let [us, ms, s] = match self {
            Self::En => ["µs", "ms", "s"],
            Self::Ru => ["мкс", "мс", "с"],
        };
        let micros = took.as_micros();
        match micros {
            0..100 => format!("{micros}{NBSP}{us}"),
            100..10_000 => format!("{}{NBSP}{ms}", self.tenths(micros / 100)),
            10_000..1_000_000 => format!("{}{NBSP}{ms}", micros / 1_000),
            1_000_000..10_000_000 => format!("{}{NBSP}{s}", self.tenths(micros / 100_000)),
            _ => format!("{}{NBSP}{s}", micros / 1_000_000),
        }
    }

    /// Formats a share, 0 to 1, as a percentage: `96.8 %`.
    pub fn percent(self, share: f64) -> String {
        format!("{}{NBSP}%", self.tenths((share * 1_000.0).round() as u128))
    }

    fn tenths(self, tenths: u128) -> String {
        format!("{}{}{}", tenths / 10, self.decimal_point(), tenths % 10)
    }

    fn decimal_point(self) -> char {
        if self == Self::En { '.' } else { ',' }
    }
}

/// Returns the language with the greatest weight in an `Accept-Language` header, among the
/// languages that the pages have. Of equal weights, the first wins.
fn most_wanted(header: &str) -> Option<Lang> {
    let ranges = || {
        header.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next()?;
            let weight = parts.find_map(|part| {
                let (name, weight) = part.split_once('=')?;
                name.eq_ignore_ascii_case("q").then(|| weight.parse::<f32>().unwrap_or(0.0))
            });
            // A weight that breaks the grammar counts as a refusal.
            Some((tag, weight.map_or(1.0, |weight| if weight <= 1.0 { weight } else { 0.0 })))
        })
    };
    // `*` stands for each language that the header does not name.
    let named = |lang| ranges().any(|(tag, _)| Lang::from_tag(tag) == Some(lang));
    let any = Lang::ALL.into_iter().find(|lang| !named(*lang));
    let mut best = None;
    for (tag, weight) in ranges() {
        let lang = if tag == "*" { any } else { Lang::from_tag(tag) };
        if let Some(lang) = lang
            && weight > best.map_or(0.0, |(weight, _)| weight)
        {
            best = Some((weight, lang));
        }
    }
    best.map(|(_, lang)| lang)
}

/// Returns a `<time>` element with the time as text and as its `datetime` attribute.
#[must_use]
pub fn time_markup(lang: Lang, at: OffsetDateTime) -> String {
    format!(r#"<time datetime="{}">{}</time>"#, machine_time(at), lang.date_time(at))
}

/// Formats a time for `<time datetime>`: RFC 3339 in UTC, to the millisecond.
pub fn machine_time(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second, milli) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_address_comes_before_cookie_and_browser() {
        let choose = Lang::choose;
        assert_eq!(choose(Some("ru"), "lang=en", "en"), Lang::Ru);
        assert_eq!(choose(Some("tlh"), "a=b; lang=ru", "en"), Lang::Ru);
        assert_eq!(choose(None, "xlang=ru", "de, ru-RU;q=0.8, en;q=0.7"), Lang::Ru);
        for (accepted, lang) in [
            ("en-GB,en;q=0.9,ru;q=0.8", Lang::En),
            ("en;q=0.8 , RU ; Q=0.9", Lang::Ru),
            ("en;q=0.2,ru", Lang::Ru),
            ("ru;q=0.5, *", Lang::En),
            ("en;q=0, *;q=0.1", Lang::Ru),
            ("*", Lang::En),
            ("ru;q=0, de", Lang::En),
            ("ru;q=x", Lang::En),
            ("ru;q=2", Lang::En),
            ("ru;q=NaN", Lang::En),
            ("", Lang::En),
        ] {
            assert_eq!(choose(None, "", accepted), lang, "{accepted}");
        }
    }

    #[test]
    fn plurals_follow_the_grammar() {
        for n in [1, 21, 101, 1_001] {
            assert_eq!(Lang::Ru.plural(n), Plural::One, "{n}");
        }
        for n in [2, 3, 4, 22, 104] {
            assert_eq!(Lang::Ru.plural(n), Plural::Few, "{n}");
        }
        for n in [0, 5, 11, 12, 14, 19, 20, 111, 112, 1_000] {
            assert_eq!(Lang::Ru.plural(n), Plural::Many, "{n}");
        }
        assert_eq!(Lang::En.plural(1), Plural::One);
        assert_eq!(Lang::En.plural(21), Plural::Many);
        assert_eq!(Lang::En.plural(0), Plural::Many);
    }

    #[test]
    fn digits_are_grouped_as_in_the_language() {
        assert_eq!(Lang::En.number(0), "0");
        assert_eq!(Lang::En.number(999), "999");
        assert_eq!(Lang::En.number(1_817), "1,817");
        assert_eq!(Lang::Ru.number(1_234_567), "1\u{a0}234\u{a0}567");
        assert_eq!(Lang::En.number(i64::MIN), "\u{2212}9,223,372,036,854,775,808");
    }

    #[test]
    fn measured_numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.25, "0.25"),
            (1.5, "1.5"),
            (9.996, "10"),
            (18.24, "18.2"),
            (99.96, "100"),
            (1_816.7, "1,817"),
            (-2.5, "\u{2212}2.5"),
        ] {
            assert_eq!(Lang::En.decimal(value), text);
        }
        assert_eq!(Lang::Ru.decimal(1.05), "1,05");
    }

    #[test]
    fn times_are_in_utc() {
        let at = datetime!(2021-11-26 06:22:19.112 UTC);
        assert_eq!(Lang::En.date_time(at), "26\u{a0}Nov\u{a0}2021, 06:22\u{a0}UTC");
        let in_tokyo = at.to_offset(time::macros::offset!(+9));
        assert_eq!(Lang::Ru.date_time(in_tokyo), "26\u{a0}нояб.\u{a0}2021, 06:22\u{a0}UTC");
        assert_eq!(Lang::En.exact_time(at), "26\u{a0}Nov\u{a0}2021, 06:22:19.112\u{a0}UTC");
        assert_eq!(Lang::En.second_time(in_tokyo), "26\u{a0}Nov\u{a0}2021, 06:22:19\u{a0}UTC");
        assert_eq!(machine_time(in_tokyo), "2021-11-26T06:22:19.112Z");
    }

    #[test]
    fn ages_and_durations_are_rounded_to_their_unit() {
        let now = datetime!(2021-11-26 06:22:19 UTC);
        let ago = |seconds| Lang::En.age(now - time::Duration::seconds(seconds), now);
        assert_eq!(ago(-5), "0\u{a0}s");
        assert_eq!(ago(59), "59\u{a0}s");
        assert_eq!(ago(60), "1\u{a0}min");
        assert_eq!(ago(7_200), "2\u{a0}h");
        assert_eq!(ago(400_000_000), "4,629\u{a0}d");

        let took = |micros| Lang::En.span(Duration::from_micros(micros));
        assert_eq!(took(4), "4\u{a0}µs");
        assert_eq!(took(249), "0.2\u{a0}ms");
        assert_eq!(took(12_345), "12\u{a0}ms");
        assert_eq!(took(1_390_000), "1.3\u{a0}s");
        assert_eq!(took(30_004_000), "30\u{a0}s");
        assert_eq!(Lang::Ru.span(Duration::from_micros(1_390_000)), "1,3\u{a0}с");
    }
}
