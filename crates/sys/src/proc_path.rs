//! Paths in /proc, put together without allocating.

use core::ffi::CStr;

/// Bytes of the longest, with the NUL byte that ends it.
const PATH: usize = 64;

/// A path that is put together part by part; what does not fit is left out.
pub struct ProcPath {
    bytes: [u8; PATH],
    len: usize,
}

impl ProcPath {
    /// The path `start`, to which more is added.
    pub fn new(start: &[u8]) -> ProcPath {
        let mut path = ProcPath {
            bytes: [0; PATH],
            len: 0,
        };
        path.push(start);
        path
    }

    /// Adds `part`, which has no NUL byte.
    pub fn push(&mut self, part: &[u8]) {
        let room = PATH - 1 - self.len;
        let part = &part[..part.len().min(room)];
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    /// Adds the number of a process, a thread or a descriptor, decimal.
    pub fn number(&mut self, n: i32) {
        self.digits(n.unsigned_abs() as usize, 10);
    }

    /// Adds an address, hexadecimal as in /proc/PID/maps.
    pub fn hex(&mut self, n: usize) {
        self.digits(n, 16);
    }

    fn digits(&mut self, mut n: usize, base: usize) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[n % base];
            n /= base;
            if n == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// The path so far.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::ProcPath;

    #[test]
    fn path_is_put_together() {
        let mut path = ProcPath::new(b"task/");
        path.number(i32::MAX);
        path.push(b"/fd/");
        path.number(0);
        assert_eq!(path.as_c_str(), c"task/2147483647/fd/0");
        let mut path = ProcPath::new(b"map_files/");
        path.hex(0x7f00_1000);
        path.push(b"-");
        path.hex(usize::MAX);
        assert_eq!(path.as_c_str(), c"map_files/7f001000-ffffffffffffffff");
        path.push(&[b'x'; 100]);
        assert_eq!(path.as_c_str().count_bytes(), 63);
    }
}
