//! Who may ask: everybody where no token is configured, else whoever has it.

use axum::http::{HeaderMap, header};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The token that requests have to carry. Its debug form has no secret.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// A token; whitespace around it doesn't count, and an empty one is none.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// Whether a request carries it as `Authorization: Bearer TOKEN`.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|text| text.split_once(' '));
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && bool::from(token.trim().as_bytes().ct_eq(self.0.as_bytes()))
        })
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_opens() {
        assert!(Token::new(" \n").is_none());
        let token = Token::new("geheim\n").expect("a token");
        let is_in = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            token.is_in(&headers)
        };
        assert!(is_in("Bearer geheim") && is_in("bearer geheim"));
        for wrong in ["geheim", "Basic geheim", "Bearer", "Bearer geheimnis", "Bearer geh", "Bearer "] {
            assert!(!is_in(wrong), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert!(!format!("{token:?}").contains("geheim"));
    }
}
