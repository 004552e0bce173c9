//! The board's page.

use std::time::Duration;

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::{Parameters, problem::Problem},
    postgres::{read::read, time_limit::LIST},
    web::{Reader, machine_time, words::fill},
};
use http::StatusCode;

pub(crate) use super::shown::BoardQuery;
use super::{
    Frame, PageState,
    board_words::BoardWords,
    figures::{Filter, Total, count, filters, totals},
    message, render,
    rows::{CourierView, OrderView},
    shown::{Content, Range, Shown, cursor, href},
    words::Words,
};
use crate::{
    delivery::courier::Transport,
    http::{ApiState, live_board::FIRST_ROWS},
    read::{Board, Found, List, Rows, Window, read_rows, search, search_free},
};

/// The longest wait for the database. After that, the page says that it does not answer.
const BOARD_TIMEOUT: Duration = Duration::from_secs(5);
/// The most rows of a page that has an end: the rows that a reader sees, and those that were added
/// among them.
const MAX_WINDOW_ROWS: i64 = 200;
/// The rows of a list that is not the only or the main one of its lane.
const SHORT_ROWS: usize = 5;
/// Up to this number of rows, a lane shows each of them with all its parts.
const MAX_CARDS: usize = 12;

/// `GET /`
pub(crate) async fn get(
    State(state): State<PageState>,
    Parameters(query): Parameters<BoardQuery>,
    reader: Reader,
) -> Result<Response, Problem> {
    let shown = Shown::parse(&query)?;
    let frame = Frame::of(&state, &reader);
    let api = &state.api;
    let page = async {
        let board = api.board.show(&api.pool, query.at).await?;
        let rows = read_shown(api, &board, &shown).await?;
        Ok::<_, sqlx::Error>(board_page(&frame, &board, &shown, &rows))
    };
    match tokio::time::timeout(BOARD_TIMEOUT, page).await {
        Ok(Ok(page)) => return Ok(reader.send(StatusCode::OK, page)),
        Ok(Err(error)) => tracing::warn!("showing the board: {error}"),
        Err(_) => {}
    }
    let words = frame.words();
    let page = message(frame, words.trouble_title, words.trouble_text);
    Ok(reader.send(StatusCode::SERVICE_UNAVAILABLE, page))
}

/// The rows of a page.
enum ShownRows {
    Lists(Vec<(List, Rows)>),
    Found(Found),
}

/// Returns the rows of a page. Those at the start of a list are part of the board, which all readers
/// share; only others are read from the database here.
async fn read_shown(
    api: &ApiState,
    board: &Board,
    shown: &Shown,
) -> Result<ShownRows, sqlx::Error> {
    let lists: &[List] = match &shown.content {
        Content::AllLists => &List::ALL,
        Content::One(list) => &[*list],
        Content::Found(text) => {
            let found = read(&api.pool, LIST, async |connection| {
                search(connection, text, FIRST_ROWS).await
            });
            return found.await.map(ShownRows::Found);
        }
        Content::FreeOf(text) => {
            let couriers = read(&api.pool, LIST, async |connection| {
                search_free(connection, text, FIRST_ROWS).await
            });
            let rows = Rows { orders: Vec::new(), couriers: couriers.await?, has_next: false };
            return Ok(ShownRows::Lists(vec![(List::Free, rows)]));
        }
    };
    if lists.iter().all(|list| shown.is_first(*list)) {
        return Ok(ShownRows::Lists(lists.iter().map(|list| (*list, board.rows(*list))).collect()));
    }
    let limit = if shown.until.is_some() { MAX_WINDOW_ROWS } else { FIRST_ROWS };
    let window = Window {
        from: shown.range.from(board.at),
        after: shown.after.clone(),
        until: shown.until.clone(),
    };
    let rows = read(&api.pool, LIST, async |connection| {
        let mut rows = Vec::new();
        for list in lists {
            rows.push((
                *list,
                match shown.is_first(*list) {
                    true => board.rows(*list),
                    false => read_rows(&mut *connection, *list, &window, limit).await?,
                },
            ));
        }
        Ok(rows)
    });
    rows.await.map(ShownRows::Lists)
}

fn board_page(frame: &Frame<'_>, board: &Board, shown: &Shown, rows: &ShownRows) -> String {
    let (words, texts) = (frame.words(), BoardWords::of(frame.lang));
    let lanes = match rows {
        ShownRows::Found(found) => found_lanes(frame, board, found),
        ShownRows::Lists(lists) => list_lanes(frame, board, shown, lists),
    };
    let (text, list) = match &shown.content {
        Content::Found(text) => (Some(text.as_str()), None),
        Content::One(list) => (None, Some(*list)),
        Content::AllLists | Content::FreeOf(_) => (None, None),
    };
    let ranges = Range::ALL.map(|range| RangeLink {
        text: match range {
            Range::All => texts.range_all,
            Range::Quarter => texts.range_quarter,
            Range::Hour => texts.range_hour,
            Range::Today => texts.range_today,
        },
        href: href(list, range, None),
        is_current: shown.range == range,
    });
    render(&BoardTemplate {
        frame,
        words,
        texts,
        tab: "board",
        at: machine_time(board.at),
        changed_at: machine_time(board.changed_at),
        text: text.unwrap_or_default(),
        found_for: text.map(|text| fill(texts.found_for, text)),
        ranges: (text.is_none() && list.is_none_or(List::has_orders)).then_some(ranges),
        filters: filters(frame, board, shown),
        oldest_text: texts
            .oldest
            .split_once("{}")
            .expect("the text has a place for the age")
            .into(),
        totals: totals(frame.lang, &board.statistics),
        is_overview: shown.content == Content::AllLists,
        start: shown.after.as_ref().map(|_| href(list, shown.range, None)),
        lanes,
        transports: Transport::ALL.map(|one| (one.as_str(), words.transport_of(one))),
    })
}

#[derive(Template)]
#[template(path = "board.html")]
struct BoardTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    texts: &'static BoardWords,
    tab: &'static str,
    at: String,
    changed_at: String,
    /// The text of the search.
    text: &'a str,
    found_for: Option<String>,
    ranges: Option<[RangeLink; 4]>,
    filters: Vec<Filter>,
    /// The texts before and after the age of the oldest order.
    oldest_text: [&'static str; 2],
    totals: Vec<Total>,
    is_overview: bool,
    /// The address of the first rows, if others are shown.
    start: Option<String>,
    lanes: Vec<LaneView<'a>>,
    transports: [(&'static str, &'static str); 3],
}

struct RangeLink {
    text: &'static str,
    href: String,
    is_current: bool,
}

/// A column of the board.
struct LaneView<'a> {
    key: &'static str,
    title: &'static str,
    count: String,
    lists: Vec<ListView<'a>>,
}

/// A list in a column.
struct ListView<'a> {
    key: &'static str,
    /// `None` if the column has no other list.
    title: Option<&'static str>,
    count: String,
    orders: Vec<OrderView<'a>>,
    couriers: Vec<CourierView<'a>>,
    /// The place of the last row.
    end: String,
    /// True if each row shows all its parts.
    are_cards: bool,
    more: Option<More>,
    empty: Option<&'static str>,
    is_hidden: bool,
}

/// The link to further rows.
struct More {
    text: String,
    href: String,
    /// True if the script loads them as the reader scrolls.
    is_loaded: bool,
}

/// The lanes of all lists: the main list of a lane comes last, after short ones of exceptions.
const LANES: [(&str, &[List]); 3] = [
    ("waiting", &[List::Held, List::Released, List::Waiting]),
    ("road", &[List::Road]),
    ("couriers", &[List::Paused, List::Free]),
];

fn list_lanes<'a>(
    frame: &Frame<'_>,
    board: &Board,
    shown: &Shown,
    rows: &'a [(List, Rows)],
) -> Vec<LaneView<'a>> {
    let texts = BoardWords::of(frame.lang);
    let view = |list: List, is_main: bool| {
        let (_, rows) = rows.iter().find(|(one, _)| *one == list)?;
        Some(ListView::of(frame, board, shown, (list, rows), is_main))
    };
    if let [(list, _)] = rows {
        let list_view = ListView { title: None, ..view(*list, true).expect("it is the list") };
        let (title, count) = (texts.title_of(*list), list_view.count.clone());
        return vec![LaneView { key: lane_of(*list), title, count, lists: vec![list_view] }];
    }
    let lanes = LANES.into_iter().map(|(key, lists)| {
        let (main, _) = lists.split_last().expect("a lane has a list");
        let mut lists: Vec<_> = lists.iter().filter_map(|list| view(*list, list == main)).collect();
        let rows = lists.iter().map(|list| list.orders.len() + list.couriers.len()).sum::<usize>();
        for list in &mut lists {
            list.are_cards = rows <= MAX_CARDS;
        }
        let (title, count) = match key {
            "couriers" => {
                let counts = board.counts;
                let all = counts.available + counts.busy + counts.paused;
                (texts.couriers, frame.lang.number(all))
            }
            _ => {
                (texts.title_of(*main), lists.last().map_or_else(String::new, |l| l.count.clone()))
            }
        };
        LaneView { key, title, count, lists }
    });
    lanes.collect()
}

/// Returns the key of the lane in which a list is shown.
fn lane_of(list: List) -> &'static str {
    match list {
        List::Waiting | List::Held | List::Released => "waiting",
        List::Overdue | List::Road => "road",
        List::Free | List::Paused | List::Retired => "couriers",
    }
}

impl<'a> ListView<'a> {
    fn of(
        frame: &Frame<'_>,
        board: &Board,
        shown: &Shown,
        (list, rows): (List, &'a Rows),
        is_main: bool,
    ) -> Self {
        let (lang, texts) = (frame.lang, BoardWords::of(frame.lang));
        let length = if is_main { usize::MAX } else { SHORT_ROWS };
        let is_queue = list == List::Waiting && shown.is_first(list);
        let orders: Vec<_> = (1..)
            .zip(rows.orders.iter().take(length))
            .map(|(place, row)| OrderView::of(frame, board, row, is_queue.then_some(place)))
            .collect();
        let couriers: Vec<_> =
            rows.couriers.iter().take(length).map(|row| CourierView::of(frame, row)).collect();
        let number = orders.len() + couriers.len();
        let all = rows.orders.len() + rows.couriers.len();
        // With a range or a search, only the rows that were read are counted.
        let total = (shown.is_first(list) && !matches!(shown.content, Content::FreeOf(_)))
            .then(|| count(board, list));
        let shown_number = i64::try_from(number).unwrap_or(i64::MAX);
        let end = rows.end().map(|place| cursor(&place)).unwrap_or_default();
        let more = (rows.has_next || all > number).then(|| More {
            text: match total {
                // The row before the snapshot may just have been counted: never "and 0 more".
                Some(total) => fill(texts.and_more, lang.number((total - shown_number).max(1))),
                None => texts.more.to_owned(),
            },
            href: match is_main {
                true => href(Some(list), shown.range, Some(&end)),
                false => href(Some(list), shown.range, None),
            },
            is_loaded: is_main,
        });
        let is_empty = number == 0;
        Self {
            key: list.as_str(),
            title: Some(texts.title_of(list)),
            count: match total {
                Some(total) => lang.number(total),
                None if rows.has_next => format!("{}+", lang.number(shown_number)),
                None => lang.number(shown_number),
            },
            orders,
            couriers,
            end,
            are_cards: number <= MAX_CARDS,
            more,
            empty: (is_empty && is_main).then(|| empty(frame, board, list)),
            is_hidden: is_empty && !is_main,
        }
    }
}

fn empty(frame: &Frame<'_>, board: &Board, list: List) -> &'static str {
    let counts = board.counts;
    match list {
        List::Free if counts.available + counts.busy + counts.paused == 0 => {
            frame.words().no_couriers
        }
        list => BoardWords::of(frame.lang).empty(list),
    }
}

fn found_lanes<'a>(frame: &Frame<'_>, board: &Board, found: &'a Found) -> Vec<LaneView<'a>> {
    let (lang, texts) = (frame.lang, BoardWords::of(frame.lang));
    let limit = usize::try_from(FIRST_ROWS).unwrap_or(usize::MAX);
    let lane = |key, title, orders: Vec<OrderView<'a>>, couriers: Vec<CourierView<'a>>| {
        let number = orders.len() + couriers.len();
        let shown = lang.number(i64::try_from(number).unwrap_or(i64::MAX));
        let count = if number < limit { shown } else { format!("{shown}+") };
        let list = ListView {
            key,
            title: None,
            count: count.clone(),
            are_cards: number <= MAX_CARDS,
            orders,
            couriers,
            end: String::new(),
            more: None,
            empty: (number == 0).then_some(texts.nothing_found),
            is_hidden: false,
        };
        LaneView { key, title, count, lists: vec![list] }
    };
    let orders = found.orders.iter().map(|row| OrderView::of(frame, board, row, None)).collect();
    let couriers = found.couriers.iter().map(|row| CourierView::of(frame, row)).collect();
    vec![
        lane("orders", texts.orders, orders, Vec::new()),
        lane("couriers", texts.couriers, Vec::new(), couriers),
    ]
}
