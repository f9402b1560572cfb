//! Claims about the byte layout, with hostile bytes.

use proptest::prelude::*;
use vulcan_guest_protocol::{
    Direction, FromGuest, FromHost, GuestFrame, HEADER_BYTES, HostFrame, PAYLOAD_BYTES_MAX, ProtocolError,
};

fn header(length: u32, kind: u8) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 0, kind, 0, 0, 0]);
    bytes
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_its_payload_arrives() {
    let mut decoder = FromGuest::default();
    decoder.push(&header(u32::MAX, 66));

    let error = decoder.next_frame().unwrap_err();

    assert_eq!(
        error,
        ProtocolError::PayloadTooLong {
            length: u32::MAX.into()
        }
    );
    assert_eq!(decoder.buffered_bytes(), HEADER_BYTES);
}

#[test]
fn a_truncated_frame_waits_for_its_rest() {
    let mut bytes = Vec::new();
    GuestFrame::Stdout(b"hello".to_vec())
        .encode(7, &mut bytes)
        .unwrap();
    let (first, rest) = bytes.split_at(HEADER_BYTES + 2);
    let mut decoder = FromGuest::default();

    decoder.push(first);
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(rest);

    assert_eq!(
        decoder.next_frame(),
        Ok(Some((7, GuestFrame::Stdout(b"hello".to_vec()))))
    );
}

#[test]
fn a_host_frame_from_a_guest_is_an_unknown_kind() {
    let mut bytes = Vec::new();
    HostFrame::Shutdown.encode(0, &mut bytes).unwrap();
    let mut decoder = FromGuest::default();
    decoder.push(&bytes);

    assert_eq!(decoder.next_frame(), Err(ProtocolError::UnknownKind { kind: 9 }));
}

#[test]
fn reserved_bytes_must_be_zero() {
    let mut bytes = header(0, 72);
    bytes[11] = 1;
    let mut decoder = FromGuest::default();
    decoder.push(&bytes);

    assert_eq!(decoder.next_frame(), Err(ProtocolError::ReservedBytes));
}

#[test]
fn a_structured_payload_with_unknown_fields_is_refused() {
    let payload = br#"{"code":"io","message":"x","more":1}"#;
    let mut bytes = header(u32::try_from(payload.len()).unwrap(), 73);
    bytes.extend_from_slice(payload);
    let mut decoder = FromGuest::default();
    decoder.push(&bytes);

    assert!(matches!(
        decoder.next_frame(),
        Err(ProtocolError::Payload { kind: 73, .. })
    ));
}

#[test]
fn a_frame_that_does_not_fit_is_not_sent_in_part() {
    let mut bytes = vec![1, 2, 3];
    let result = HostFrame::Data(vec![0; PAYLOAD_BYTES_MAX + 1]).encode(1, &mut bytes);
    assert!(matches!(result, Err(ProtocolError::PayloadTooLong { .. })));
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn a_data_header_is_the_same_as_that_of_an_encoded_frame() {
    let mut bytes = Vec::new();
    HostFrame::Data(b"abc".to_vec()).encode(5, &mut bytes).unwrap();
    assert_eq!(HostFrame::data_header(5, 3).unwrap(), bytes[..HEADER_BYTES]);
    assert!(HostFrame::data_header(5, PAYLOAD_BYTES_MAX + 1).is_err());
}

proptest! {
    #[test]
    fn frames_survive_any_cut_of_the_stream(
        frames in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
        piece in 1_usize..50,
    ) {
        let mut bytes = Vec::new();
        for (channel, data) in &frames {
            HostFrame::Data(data.clone()).encode(*channel, &mut bytes).unwrap();
        }
        let mut decoder = FromHost::default();
        let mut found = Vec::new();

        for piece in bytes.chunks(piece) {
            decoder.push(piece);
            while let Some((channel, HostFrame::Data(data))) = decoder.next_frame().unwrap() {
                found.push((channel, data));
            }
        }

        prop_assert_eq!(found, frames);
    }

    #[test]
    fn random_bytes_never_hold_more_than_was_sent(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut decoder = FromGuest::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
        prop_assert!(decoder.buffered_bytes() <= bytes.len());
    }
}
