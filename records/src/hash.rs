//! The hash of a page in records.

/// XXH3, 64 bits, seed 0 (<https://xxhash.com>) of a page's bytes: what `xxhsum -H3` prints, so that
/// whoever has the page can check a logged hash. It detects changes and protects from nobody.
///
/// Neither allocates nor panics.
pub fn page_hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input of the reference implementation's sanity checks (xxHash, tests/sanity_test.c).
    fn sanity_input(length: usize) -> Vec<u8> {
        let mut generator = 2_654_435_761_u64;
        let bytes = (0..length).map(|_| {
            let byte = (generator >> 56) as u8;
            generator = generator.wrapping_mul(11_400_714_785_074_694_797);
            byte
        });
        bytes.collect()
    }

    #[test]
    fn the_vectors_of_the_reference_implementation() {
        for (length, hash) in [
            (0, 0x2d06_8005_38d3_94c2),
            (1, 0xc44b_dff4_074e_ecdb),
            (6, 0x27b5_6a84_cd2d_7325),
            (12, 0xa713_daf0_dfbb_77e7),
            (24, 0xa3fe_70bf_9d35_10eb),
            (48, 0x397d_a259_ecba_1f11),
            (80, 0xbcde_fbbb_2c47_c90a),
            (195, 0xcd94_217e_e362_ec3a),
            (403, 0xcdeb_804d_65c6_dea4),
            (512, 0x617e_4959_9013_cb6b),
            (2048, 0xdd59_e2c3_a5f0_38e0),
            (2240, 0x6e73_a905_39cf_2948),
            (2367, 0xcb37_aeb9_e5d3_61ed),
        ] {
            assert_eq!(page_hash(&sanity_input(length)), hash, "{length} bytes");
        }
    }

    /// `head -c 4096 /dev/zero | xxhsum -H3`, and the same of `abc`.
    #[test]
    fn what_xxhsum_prints() {
        assert_eq!(page_hash(&[0; 4096]), 0x93d7_6fe1_48c6_89ba);
        assert_eq!(page_hash(b"abc"), 0x78af_5f94_892f_3950);
    }
}
