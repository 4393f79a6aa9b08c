//! TFRecords: length, its checksum, data, its checksum, all little-endian.

/// The bytes of a length with its checksum.
const HEAD: usize = 12;
/// The bytes of a checksum.
const TAIL: usize = 4;

/// The record of `data`.
pub(super) fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + HEAD + TAIL);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// Takes the data of the first record off `bytes`; `None` at the end, and where a kill cut a record or a byte has changed.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (length, sum) = head.split_first_chunk::<8>()?;
    if sum != masked_crc(length).to_le_bytes() {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    let (sum, rest) = rest.split_at_checked(TAIL)?;
    if sum != masked_crc(data).to_le_bytes() {
        return None;
    }
    *bytes = rest;
    Some(data)
}

/// CRC-32C, rotated and offset, so that it stays reliable for data that contains checksums.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli): reflected polynomial 0x82f63b78, start and end inverted.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (crc >> 8) ^ CRC_TABLE[usize::from((crc as u8) ^ byte)]
    })
}

/// Remainder of each byte.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_known_strings() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn what_was_cut_or_changed_is_not_taken() {
        let whole = [record(b"one"), record(b""), record(b"three")].concat();
        let all = |bytes: &[u8]| {
            let mut rest = bytes;
            std::iter::from_fn(|| take(&mut rest).map(<[u8]>::to_vec)).collect::<Vec<_>>()
        };
        assert_eq!(all(&whole), [&b"one"[..], b"", b"three"]);
        for cut in 0..whole.len() {
            assert!(all(&whole[..cut]).len() < 3, "{cut}");
            let mut changed = whole.clone();
            changed[cut] ^= 1;
            assert!(all(&changed).len() < 3, "{cut}");
        }
        let mut endless = u64::MAX.to_le_bytes().to_vec();
        endless.extend(masked_crc(&endless).to_le_bytes());
        assert!(all(&endless).is_empty());
    }
}
