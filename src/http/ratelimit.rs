//! How answers tell where a visitor stands: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), and the three
//! fields of its older versions, which more clients read.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, HeaderValue};

use crate::app::rates::Standing;

/// The answer with where its visitor stands, if that is counted.
pub fn told<B>(mut response: HttpResponse<B>, standing: Option<Standing>) -> HttpResponse<B> {
    let Some(standing) = standing else {
        return response;
    };
    for (name, value) in fields(&standing) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// `t` says when there is one more, `ratelimit-reset` when there are all again; both may be a little later than true, never earlier.
fn fields(standing: &Standing) -> [(&'static str, String); 5] {
    let Standing {
        asked,
        limit,
        remaining,
        more_in,
        all_in,
    } = standing;
    let name = asked.as_str();
    [
        ("ratelimit-policy", format!("\"{name}\";q={limit};w=60")),
        ("ratelimit", format!("\"{name}\";r={remaining};t={more_in}")),
        ("ratelimit-limit", limit.to_string()),
        ("ratelimit-remaining", remaining.to_string()),
        ("ratelimit-reset", all_in.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::rates::Asked;

    #[test]
    fn an_answer_tells_where_its_visitor_stands_in_both_ways() {
        let standing = Standing {
            asked: Asked::Clips,
            limit: 20,
            remaining: 18,
            more_in: 3,
            all_in: 6,
        };
        let response = told(HttpResponse::Ok().finish(), Some(standing));
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("RateLimit-Policy"), "\"clips\";q=20;w=60");
        assert_eq!(header("RateLimit"), "\"clips\";r=18;t=3");
        assert_eq!(header("RateLimit-Limit"), "20");
        assert_eq!(header("RateLimit-Remaining"), "18");
        assert_eq!(header("RateLimit-Reset"), "6");
        let response = told(HttpResponse::Ok().finish(), None);
        assert!(response.headers().is_empty());
    }
}
