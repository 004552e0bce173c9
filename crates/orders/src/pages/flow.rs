//! The charts of the flow. The page does not need the database, so it is shown during an outage, too.

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    flow::calls::FlowQuery,
    http::{Parameters, problem::Problem},
    web::{Reader, flow::FlowPage},
};
use http::StatusCode;

use super::{Frame, PageState, flow_words::chart_words, render, words::Words};
use crate::flow::CATALOGUE;

/// `GET /flow`
pub(crate) async fn get(
    State(state): State<PageState>,
    Parameters(query): Parameters<FlowQuery>,
    reader: Reader,
) -> Result<Response, Problem> {
    let range = query.range()?;
    let frame = Frame::without_lists(&state, &reader);
    let words = chart_words(frame.lang);
    let page = FlowPage::new(&state.api.flow, &CATALOGUE, words, range, frame.lang);
    let template = FlowTemplate { frame: &frame, words: frame.words(), tab: "flow", page };
    Ok(reader.send(StatusCode::OK, render(&template)))
}

#[derive(Template)]
#[template(path = "flow.html")]
struct FlowTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    page: FlowPage,
}
