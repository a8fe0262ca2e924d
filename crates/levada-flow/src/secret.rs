//! Credentials, in memory only.

/// What opens a container. Never printed, logged or stored.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
