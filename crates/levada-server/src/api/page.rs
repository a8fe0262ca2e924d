//! Pages of sorted lists: at most so many items, and an opaque cursor to the next ones.

use super::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Items of a page where nothing is said.
const LIMIT: u32 = 100;
/// Most items of a page.
const LIMIT_MAX: u32 = 1_000;

/// Items, and how to get the next ones.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// In a fixed order.
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null: there is none.
    pub(crate) next: Option<String>,
}

/// Where a page begins and how long it is.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// The key of the last item before it.
    after: Option<Vec<u8>>,
    limit: usize,
}

/// `limit` as given, within its bounds.
///
/// # Errors
/// It is 0 or too large.
pub(crate) fn limited(limit: Option<u32>) -> Result<usize, Problem> {
    match limit.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        limit => Err(Problem::parameter(format!("limit is {limit}, and goes from 1 to {LIMIT_MAX}"))),
    }
}

impl Slice {
    /// Reads the parameters.
    ///
    /// # Errors
    /// The limit is out of its bounds, or the cursor is none.
    pub(crate) fn of(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, Problem> {
        let after = match cursor {
            None => None,
            Some(cursor) => Some(
                from_hex(cursor)
                    .ok_or_else(|| Problem::parameter("the cursor is none that a page of this list has given"))?,
            ),
        };
        Ok(Self { after, limit: limited(limit)? })
    }

    /// The page of a list that is sorted by `key`, without what is not kept.
    pub(crate) fn cut<'a, T, R>(
        &self,
        sorted: &'a [T],
        key: impl Fn(&T) -> String,
        keep: impl Fn(&T) -> bool,
        show: impl Fn(&'a T) -> R,
    ) -> Page<R> {
        let is_before = |item: &T| self.after.as_ref().is_some_and(|after| key(item).as_bytes() <= after.as_slice());
        let start = sorted.partition_point(is_before);
        let mut kept = sorted[start..].iter().filter(|item| keep(item));
        let items: Vec<&T> = kept.by_ref().take(self.limit).collect();
        let last = items.last().filter(|_| kept.next().is_some());
        let next = last.map(|item| to_hex(&key(item)));
        Page { items: items.into_iter().map(show).collect(), next }
    }
}

fn to_hex(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Any even number of digits is a cursor: the place of a key that may be gone by now.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let is_whole = !digits.is_empty() && digits.len().is_multiple_of(2);
    is_whole.then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The parameters that every list has.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// Most items of the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<u32>,
    /// `next` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    pub(crate) cursor: Option<String>,
}

impl PageParams {
    pub(crate) fn slice(&self) -> Result<Slice, Problem> {
        Slice::of(self.limit, self.cursor.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gaps_whatever_is_kept() {
        let list: Vec<String> = (0..25).map(|number| format!("{number:02}é")).collect();
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let slice = Slice::of(Some(4), cursor.as_deref()).expect("a slice");
            let page = slice.cut(&list, Clone::clone, |item| !item.starts_with('1'), Clone::clone);
            seen.extend(page.items);
            pages += 1;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let kept: Vec<String> = list.into_iter().filter(|item| !item.starts_with('1')).collect();
        assert_eq!((seen, pages), (kept, 4));
    }

    #[test]
    fn limits_and_cursors_that_are_none_are_refused() {
        for (limit, cursor) in
            [(Some(0), None), (Some(1_001), None), (None, Some("xyz")), (None, Some("abc")), (None, Some(""))]
        {
            assert!(Slice::of(limit, cursor).is_err(), "{limit:?} {cursor:?}");
        }
    }
}
