//! For whom a page is drawn: the language, and the zone of the times.
//!
//! Both are the browser's wish or the person's choice, which a cookie keeps. They go with the request, not through every
//! call: whatever makes a sentence or a time for a page makes it for the one who asked. Outside of a request, and for the
//! API, it is English.

use std::str::FromStr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use chrono_tz::Tz;
use http::{HeaderMap, header};
use serde::Deserialize;

use crate::access::client::Client;
use crate::access::sessions::cookie;
use crate::links;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    #[default]
    English,
    Korean,
}

impl Language {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "en" => Some(Self::English),
            "ko" => Some(Self::Korean),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }

    /// The one that the browser likes best among ours: `ko-KR,ko;q=0.9,en;q=0.8`.
    fn of_browser(text: &str) -> Self {
        let wish = |part: &str| {
            let (tag, weight) = part.split_once(";q=").unwrap_or((part, "1"));
            let primary = tag.trim().split('-').next()?.to_ascii_lowercase();
            Some((weight.trim().parse::<f32>().ok()?, Self::parse(&primary)?))
        };
        let mut best: Option<(f32, Self)> = None;
        for (weight, language) in text.split(',').filter_map(wish) {
            if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language).unwrap_or_default()
    }
}

/// In which zone times are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Zone {
    /// Each DAG's own; UTC for what is of none.
    #[default]
    Dag,
    /// One for all.
    Fixed(Tz),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Viewer {
    pub language: Language,
    pub zone: Zone,
}

const LANGUAGE: &str = "millrace_language";
const ZONE: &str = "millrace_zone";
/// How long a choice is kept.
const A_YEAR: u32 = 31_536_000;

tokio::task_local! {
    static VIEWER: Viewer;
}

/// Who asks.
pub(crate) fn viewer() -> Viewer {
    VIEWER.try_with(|viewer| *viewer).unwrap_or_default()
}

impl Viewer {
    fn of(headers: &HeaderMap) -> Self {
        let browser = headers.get(header::ACCEPT_LANGUAGE).and_then(|text| text.to_str().ok());
        let chosen = cookie(headers, LANGUAGE).and_then(Language::parse);
        Self {
            language: chosen.unwrap_or_else(|| browser.map(Language::of_browser).unwrap_or_default()),
            zone: cookie(headers, ZONE).and_then(|text| zone(&text.replace("%2F", "/"))).unwrap_or_default(),
        }
    }
}

fn zone(text: &str) -> Option<Zone> {
    match text {
        "dag" => Some(Zone::Dag),
        _ => Tz::from_str(text).ok().map(Zone::Fixed),
    }
}

/// The zone in which a time of something in `own` is shown.
pub(crate) fn zone_for(own: Tz) -> Tz {
    match viewer().zone {
        Zone::Dag => own,
        Zone::Fixed(zone) => zone,
    }
}

pub(crate) async fn introduce(request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    let viewer = Viewer::of(request.headers());
    VIEWER.scope(viewer, next.run(request)).await
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    language: Option<String>,
    zone: Option<String>,
}

/// Keeps a choice. What is no language or zone of ours is as if it had not been sent.
pub(crate) async fn choose(
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(choice): Form<Choice>,
) -> impl IntoResponse {
    let secure = client.secure_cookies();
    let language = choice.language.as_deref().and_then(Language::parse).map(|it| (LANGUAGE, it.as_str().to_owned()));
    let zone = choice.zone.as_deref().and_then(zone).map(|zone| match zone {
        Zone::Dag => (ZONE, "dag".to_owned()),
        Zone::Fixed(zone) => (ZONE, zone.name().to_owned()),
    });
    let kept = |(name, value): (&str, String)| {
        (header::SET_COOKIE, format!("{name}={value}; Path=/; Max-Age={A_YEAR}; SameSite=Lax; HttpOnly{secure}"))
    };
    let cookies: Vec<_> = [language, zone].into_iter().flatten().map(kept).collect();
    (AppendHeaders(cookies), Redirect::to(&links::back(&headers, "/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_s_wish_is_weighed() {
        let of = Language::of_browser;
        assert_eq!(of("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7"), Language::Korean);
        assert_eq!(of("en-GB,ko;q=0.5"), Language::English);
        assert_eq!(of("fr,ko;q=0.5,en;q=0.9"), Language::English);
        assert_eq!(of("ko;q=0, fr"), Language::English);
        assert_eq!(of("nonsense;;;"), Language::English);
    }

    #[test]
    fn a_choice_goes_before_the_browser_and_nonsense_is_none() {
        let of = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, "ko".parse().unwrap());
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            Viewer::of(&headers)
        };
        let seoul = Zone::Fixed(Tz::Asia__Seoul);
        assert_eq!(
            of("millrace_language=en; millrace_zone=Asia/Seoul"),
            Viewer { language: Language::English, zone: seoul }
        );
        assert_eq!(
            of("millrace_language=xx; millrace_zone=Mars/Base"),
            Viewer { language: Language::Korean, zone: Zone::Dag }
        );
        assert_eq!(of("millrace_zone=Asia%2FSeoul").zone, seoul);
    }
}
