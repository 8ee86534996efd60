//! The time that a command still has to wait when it is sent again. Pure.

use std::time::Duration;

use super::cursor::with_argument;
use crate::commands::Handling;
use crate::resp::Arguments;

/// A request that has waited for so long, with the time that is left in the place of its time-out. What waits for ever,
/// or in a way that the table does not know, stays as it is.
pub(super) fn with_time_left(request: &[u8], handling: Handling, waited: Duration) -> Vec<u8> {
    let count = Arguments::of(request).count();
    let (index, in_seconds) = match handling {
        Handling::TimeoutFirst => (1, true),
        Handling::TimeoutLast => (count.saturating_sub(1), true),
        Handling::Wait => (count.saturating_sub(1), false),
        Handling::BlockOption => {
            let mut options = Arguments::of(request);
            let option = options.position(|argument| argument.eq_ignore_ascii_case(b"block"));
            (option.map_or(count, |option| option + 1), false)
        }
        _ => return request.to_vec(),
    };
    let argument = Arguments::of(request).nth(index).unwrap_or_default();
    let text = std::str::from_utf8(argument).unwrap_or_default();
    let left = if in_seconds {
        let asked = text.parse::<f64>().ok().filter(|asked| *asked > 0.0);
        // The least that is not for ever: it ran out while there was nobody to say so.
        asked.map(|asked| format!("{:.3}", (asked - waited.as_secs_f64()).max(0.001)))
    } else {
        let asked = text.parse::<u128>().ok().filter(|asked| *asked > 0);
        asked.map(|asked| asked.saturating_sub(waited.as_millis()).max(1).to_string())
    };
    match left {
        Some(left) => with_argument(request, index, left.as_bytes()),
        None => request.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::write;

    fn after(words: &str, handling: Handling, waited: u64) -> String {
        let mut request = Vec::new();
        write::request(
            &mut request,
            words.split(' ').map(str::as_bytes).collect::<Vec<_>>(),
        );
        let left = with_time_left(&request, handling, Duration::from_millis(waited));
        let words = Arguments::of(&left).map(|word| String::from_utf8_lossy(word).into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_left_stands_in_the_time_outs_place() {
        use Handling::{BlockOption, Forward, TimeoutFirst, TimeoutLast, Wait};
        for (words, handling, expected) in [
            ("BLPOP 5 6 7.5", TimeoutLast, "BLPOP 5 6 5.000"),
            ("BLPOP a 0", TimeoutLast, "BLPOP a 0"),
            ("BLPOP a 1", TimeoutLast, "BLPOP a 0.001"),
            ("BLMPOP 10 1 5 LEFT", TimeoutFirst, "BLMPOP 7.500 1 5 LEFT"),
            ("BLMPOP 0 1 5 LEFT", TimeoutFirst, "BLMPOP 0 1 5 LEFT"),
            ("WAIT 1 3000", Wait, "WAIT 1 500"),
            (
                "XREAD block 3000 STREAMS s $",
                BlockOption,
                "XREAD block 500 STREAMS s $",
            ),
            (
                "XREAD COUNT 1 BLOCK 100 STREAMS s 0",
                BlockOption,
                "XREAD COUNT 1 BLOCK 1 STREAMS s 0",
            ),
            ("XREAD BLOCK", BlockOption, "XREAD BLOCK"),
            ("BLPOP a no", TimeoutLast, "BLPOP a no"),
            ("MODULE.BPOP a 5", Forward, "MODULE.BPOP a 5"),
        ] {
            assert_eq!(after(words, handling, 2_500), expected, "{words}");
        }
    }
}
