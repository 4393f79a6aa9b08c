//! The first directory of a TIFF block: of a TIFF file, of a camera's raw file, of EXIF.

/// The first value of `tag`, where it is a number of 8, 16 or 32 bits.
pub(super) fn number(block: &[u8], tag: u16) -> Option<u32> {
    let order = Order::of(block)?;
    let directory = order.u32(block, 4)? as usize;
    let entries = order.u16(block, directory)? as usize;
    (0..entries).find_map(|i| {
        let entry = block.get(directory + 2 + 12 * i..directory + 14 + 12 * i)?;
        if order.u16(entry, 0)? != tag || order.u32(entry, 4)? == 0 {
            return None;
        }
        // Longer arrays lie elsewhere; the tags asked for are single numbers.
        match order.u16(entry, 2)? {
            1 => entry.get(8).copied().map(u32::from),
            3 => order.u16(entry, 8).map(u32::from),
            4 | 13 => order.u32(entry, 8),
            _ => None,
        }
    })
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(block: &[u8]) -> Option<Self> {
        match block.get(..4)? {
            b"II*\0" => Some(Self::Little),
            b"MM\0*" => Some(Self::Big),
            _ => None,
        }
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let two = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(two),
            Self::Big => u16::from_be_bytes(two),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        })
    }
}
