//! Buffers in several parts, as `readv` and `sendmsg` have them.

use libc::iovec;

/// As many parts as the kernel takes (`IOV_MAX`).
const MOST: usize = 1024;

/// Where nothing of a process ever is: its first page, and what the kernel keeps for itself.
fn is_nowhere<T>(place: *const T) -> bool {
    const PAGE: usize = 4096;
    !(PAGE..1 << 56).contains(&place.addr())
}

/// What is at a place that the caller tells; `None` where it cannot be looked at here: the kernel says what is wrong with it.
///
/// # Safety
///
/// There is one, unless nothing ever is at that place.
pub(crate) unsafe fn at<T: Copy>(place: *const T) -> Option<T> {
    // SAFETY: the caller's promise.
    (!is_nowhere(place)).then(|| unsafe { place.read_unaligned() })
}

/// The parts of which a caller tells; `None` if the kernel would refuse so many, or they cannot be looked at here.
///
/// # Safety
///
/// There are so many at that place, for as long as the result is used, unless nothing ever is there.
pub(crate) unsafe fn of<'a>(parts: *const iovec, count: usize) -> Option<&'a [iovec]> {
    if count == 0 {
        return Some(&[]);
    }
    // SAFETY: the caller's promise.
    (count <= MOST && !is_nowhere(parts) && parts.is_aligned())
        .then(|| unsafe { std::slice::from_raw_parts(parts, count) })
}

/// How many bytes they have room for.
pub(crate) fn len(parts: &[iovec]) -> usize {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.iov_len))
}

/// The parts from an offset on.
pub(crate) struct Rest(Vec<iovec>);

impl Rest {
    pub(crate) fn new(parts: &[iovec], mut from: usize) -> Rest {
        let mut rest = Vec::with_capacity(parts.len());
        for part in parts {
            let skipped = from.min(part.iov_len);
            from -= skipped;
            if part.iov_len > skipped {
                let base = part.iov_base.wrapping_byte_add(skipped);
                rest.push(iovec { iov_base: base, iov_len: part.iov_len - skipped });
            }
        }
        Rest(rest)
    }

    pub(crate) fn as_slice(&self) -> &[iovec] {
        &self.0
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut iovec {
        self.0.as_mut_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(lens: &[usize]) -> Vec<iovec> {
        lens.iter().map(|&iov_len| iovec { iov_base: std::ptr::without_provenance_mut(1000), iov_len }).collect()
    }

    #[test]
    fn the_rest_begins_where_it_is_told_and_has_no_empty_parts() {
        let parts = parts(&[3, 0, 5, 2]);
        assert_eq!(len(&parts), 10);
        let of = |from| {
            let rest = Rest::new(&parts, from);
            rest.as_slice().iter().map(|part| (part.iov_base.addr() - 1000, part.iov_len)).collect::<Vec<_>>()
        };
        assert_eq!(of(0), [(0, 3), (0, 5), (0, 2)]);
        assert_eq!(of(2), [(2, 1), (0, 5), (0, 2)]);
        assert_eq!(of(3), [(0, 5), (0, 2)]);
        assert_eq!(of(9), [(1, 1)]);
        assert_eq!(of(10), []);
    }
}
