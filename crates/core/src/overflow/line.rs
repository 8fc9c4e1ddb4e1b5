//! The report, put together without allocation or locks.

use super::Overflow;

/// The longest name that is printed whole, in bytes.
const NAME_LIMIT: usize = 128;

/// One line of at most 256 bytes.
pub(super) struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    /// Words the report. Async-signal-safe.
    pub(super) fn report(overflow: &Overflow<'_>) -> Self {
        let mut line = Self { bytes: [0; 256], len: 0 };
        line.push(b"greenlet '");
        line.push_name(overflow.name);
        line.push(b"' has overflowed its stack of ");
        line.push_number(overflow.stack_size);
        line.push(b" bytes; Builder::stack_size gives it a larger one\n");
        line
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    fn push_name(&mut self, name: &str) {
        let mut printed = 0;
        for character in name.chars() {
            printed += character.len_utf8();
            if printed > NAME_LIMIT {
                self.push("…".as_bytes());
                return;
            }
            let character = if character.is_control() { '?' } else { character };
            self.push(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn push_number(&mut self, mut number: usize) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, stack_size: usize) -> String {
        let line = Line::report(&Overflow { name, stack_size });
        String::from_utf8(line.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_line_names_the_greenlet_the_size_and_the_cure() {
        assert_eq!(
            report("worker-7", 249_856),
            "greenlet 'worker-7' has overflowed its stack of 249856 bytes; \
             Builder::stack_size gives it a larger one\n"
        );
    }

    #[test]
    fn a_name_with_newlines_stays_on_one_line() {
        assert!(report("a\nb\u{1b}[31m", 0).starts_with("greenlet 'a?b?[31m' has overflowed its stack of 0 "));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let line = report(&"ä".repeat(1000), usize::MAX);
        assert!(line.starts_with(&format!("greenlet '{}…' has", "ä".repeat(64))));
        assert!(line.contains("18446744073709551615 bytes"));
        assert!(line.ends_with("a larger one\n"));
    }
}
