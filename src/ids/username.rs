//! Names of people: which are the same name (RFC 8266), and which would look like it (UTS 39).

use std::borrow::Cow;

use precis_core::context::{rule_zero_width_joiner, rule_zero_width_nonjoiner};
use precis_core::profile::{Rules, stabilize};
use precis_profiles::Nickname;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::UnicodeEmoji;
use unicode_security::{MixedScript, skeleton};

use super::BadName;

/// A zero width joiner, which makes one emoji of several.
const ZWJ: char = '\u{200d}';
const ZWNJ: char = '\u{200c}';
/// The flag that tags make another flag of, and the tag that ends them.
const BLACK_FLAG: char = '\u{1f3f4}';
const CANCEL_TAG: char = '\u{e007f}';

/// A username: shown as typed, compared as RFC 8266 compares nicknames, and by its look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    shown: String,
    key: String,
    skeleton: String,
}

impl Username {
    /// The longest name in characters (wire contract).
    pub const MAX_CHARS: usize = 64;

    /// Takes a name as typed, of an account that may be older than the rules for new ones. The nickname profile's
    /// mappings decide which names are equal; its character classes do not apply, since they follow an older
    /// Unicode and would refuse this year's emoji.
    pub fn parse(raw: &str) -> Result<Self, BadName> {
        let chars = raw.chars().take(Self::MAX_CHARS + 1).count();
        if chars == 0 || chars > Self::MAX_CHARS {
            return Err(BadName("a username has 1 to 64 characters"));
        }
        if raw.chars().any(char::is_control) {
            return Err(BadName("a username has no control characters"));
        }
        let profile = Nickname::new();
        let key = stabilize(raw, |name| {
            // Unicode's toLowerCase over the whole name, since a final sigma depends on what stands before it.
            profile.normalization_rule(spaced(name).to_lowercase())
        });
        match key {
            Ok(key) if !key.is_empty() => Ok(Self {
                shown: raw.to_owned(),
                key: key.into_owned(),
                skeleton: look(raw, &profile),
            }),
            _ => Err(BadName("a username has a visible character")),
        }
    }

    /// Takes a name for a new account: what cannot be seen, and letters of another script that pass for those
    /// beside them, are for nothing but taking somebody else's place.
    pub fn parse_new(raw: &str) -> Result<Self, BadName> {
        let name = Self::parse(raw)?;
        if name.skeleton.is_empty() {
            return Err(BadName("a username has a visible character"));
        }
        let chars: Vec<char> = raw.chars().collect();
        if (0..chars.len()).any(|at| is_hidden(chars[at]) && !has_business(raw, &chars, at)) {
            return Err(BadName(
                "a username has no characters that cannot be seen, outside of emoji and of the scripts that need them",
            ));
        }
        if raw.split(|c: char| !c.is_alphanumeric()).any(is_disguised) {
            return Err(BadName(
                "a username has no letters of one script among those of another that they look like",
            ));
        }
        Ok(name)
    }

    /// As typed.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// As compared: equal keys are the same name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// As it looks: of two names with equal skeletons only one can be signed up. Empty: it does not look like anything.
    pub fn skeleton(&self) -> &str {
        &self.skeleton
    }
}

/// The nickname profile's additional mapping rule (RFC 8266 §2.1): one space between words, and none around them. The
/// library's own cuts at the number of a character as if it were that of a byte, through a letter or before a space that counts.
fn spaced(name: &str) -> String {
    let words: Vec<_> = name.split(is_space).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Unicode's space separators (Zs).
fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// The skeleton of UTS 39 of the name as it is shown, in lower case. The letters and digits of ASCII stay what they
/// are: there `1`, `l` and `I` differ as much as fonts let them, and programs number their users.
fn look(raw: &str, profile: &Nickname) -> String {
    let chars: Vec<char> = raw.chars().collect();
    let seen: String = (0..chars.len())
        .filter(|&at| !is_hidden(chars[at]) || flag_of(&chars, at).is_some())
        .map(|at| chars[at])
        .collect();
    let mapped = stabilize(seen.as_str(), |name| profile.normalization_rule(spaced(name)));
    let mapped = mapped.unwrap_or(Cow::Borrowed(""));
    prototypes(&mapped).to_lowercase().nfc().collect()
}

/// Every character as the one that it is confusable with; ASCII and the tags of flags as themselves.
fn prototypes(name: &str) -> String {
    let mut looks = String::with_capacity(name.len());
    for c in name.nfd() {
        if c.is_ascii() || is_tag(c) {
            looks.push(c);
        } else {
            looks.extend(skeleton(c.encode_utf8(&mut [0; 4])));
        }
    }
    looks
}

/// A word of several scripts that looks like a word of one: `Аnn` whose first letter is Cyrillic.
fn is_disguised(word: &str) -> bool {
    !word.is_single_script() && prototypes(word).as_str().is_single_script()
}

/// Takes no place on the screen, or turns what follows around.
fn is_hidden(c: char) -> bool {
    // Unicode's default-ignorable code points are those of which nothing is left in a skeleton.
    let ignorable = !c.is_ascii() && skeleton(c.encode_utf8(&mut [0; 4])).next().is_none();
    // Line and paragraph separators, the blank pattern of Braille, the frames of annotations, object replacement.
    ignorable || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2800}' | '\u{fff9}'..='\u{fffc}')
}

/// Whether a character that cannot be seen changes what is: joins emoji, picks their form, or belongs to the script.
fn has_business(raw: &str, chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    let after = chars.get(at + 1).copied();
    match chars[at] {
        ZWJ => {
            let joins = chars[..at]
                .iter()
                .rev()
                .find(|c| !is_selector(**c))
                .is_some_and(|c| is_emoji(*c))
                && after.is_some_and(is_emoji);
            joins || rule_zero_width_joiner(raw, at) == Ok(true)
        }
        ZWNJ => rule_zero_width_nonjoiner(raw, at) == Ok(true),
        // A keycap has one between the digit and its frame.
        '\u{fe0e}' | '\u{fe0f}' => match before {
            Some('0'..='9' | '#' | '*') => after == Some('\u{20e3}'),
            Some(base) => is_emoji(base),
            None => false,
        },
        '\u{e0100}'..='\u{e01ef}' => before.is_some_and(is_ideograph),
        '\u{180b}'..='\u{180d}' | '\u{180f}' => before.is_some_and(|c| matches!(c, '\u{1820}'..='\u{18aa}')),
        c if is_tag(c) => flag_of(chars, at) == Some(true),
        _ => false,
    }
}

/// Whether the tags around this place end as they should; `None`: it is no tag of a flag.
fn flag_of(chars: &[char], at: usize) -> Option<bool> {
    if !is_tag(chars[at]) {
        return None;
    }
    let tags = chars[..at].iter().rev().take_while(|c| is_tag(**c)).count();
    let begin = at - tags;
    if begin.checked_sub(1).map(|flag| chars[flag]) != Some(BLACK_FLAG) {
        return None;
    }
    let mut run = chars[begin..].iter().take_while(|c| is_tag(**c)).peekable();
    let well = run.peek() != Some(&&CANCEL_TAG)
        && run.position(|c| *c == CANCEL_TAG).is_some()
        && run.next().is_none();
    Some(well)
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..=CANCEL_TAG)
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe0e}' | '\u{fe0f}')
}

fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> String {
        Username::parse(name).unwrap().key().to_owned()
    }

    #[test]
    fn usernames_ignore_case_width_and_spacing() {
        assert_eq!(key("Guybrush Threepwood"), key("  guybrush   THREEPWOOD "));
        assert_eq!(key("Ａｎｎ"), key("ann"));
        assert_eq!(key("ﬁsh"), key("FISH"));
        assert_ne!(key("ann"), key("anne"));
        assert_eq!(Username::parse(" Ann ").unwrap().shown(), " Ann ");
    }

    #[test]
    fn spaces_are_mapped_after_letters_of_any_length() {
        for (name, same) in [
            ("é  b", "É b"),
            ("Анна ", "анна"),
            ("Жан\u{a0}Поль", "Жан Поль"),
            ("y\u{817df}$\u{a0}", "y\u{817df}$"),
            ("  健  二  ", "健\u{3000}二"),
        ] {
            assert_eq!(key(name), key(same), "{name:?}");
        }
        assert_ne!(key("é  b"), key("éb"));
    }

    #[test]
    fn a_final_sigma_is_a_sigma() {
        assert_eq!(key("ΣΊΣΥΦΟΣ"), key("Σίσυφος"));
    }

    #[test]
    fn usernames_have_limits() {
        assert!(Username::parse_new(&"é".repeat(64)).is_ok());
        assert!(Username::parse_new("🫠").is_ok());
        for bad in ["", "   ", "a\u{0}", "a\tb", &"é".repeat(65)] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_makes_no_new_name() {
        for hidden in [
            '\u{200b}',
            '\u{ad}',
            '\u{202e}',
            '\u{200d}',
            '\u{200c}',
            '\u{fe0f}',
            '\u{3164}',
            '\u{ffa0}',
            '\u{115f}',
            '\u{2060}',
            '\u{2066}',
            '\u{61c}',
            '\u{34f}',
            '\u{180e}',
            '\u{feff}',
            '\u{e0041}',
            '\u{e0101}',
            '\u{fe00}',
            '\u{180b}',
            '\u{2028}',
            '\u{2800}',
            '\u{fffc}',
            '\u{1d173}',
        ] {
            for name in [
                format!("An{hidden}n"),
                format!("{hidden}Ann"),
                format!("Ann{hidden}"),
                hidden.into(),
            ] {
                assert!(
                    Username::parse_new(&name).is_err(),
                    "U+{:04X} in {name:?}",
                    u32::from(hidden)
                );
            }
            // One that was signed up before is still a name, and looks like the other.
            let old = Username::parse(&format!("An{hidden}n")).unwrap();
            assert_eq!(old.skeleton(), "ann", "U+{:04X}", u32::from(hidden));
        }
    }

    #[test]
    fn emoji_and_scripts_keep_what_they_need() {
        for name in [
            "👩‍👩‍👧‍👦",
            "❤️‍🔥",
            "Ann ❤️",
            "🏳️‍🌈",
            "👩🏽‍🚀",
            "5️⃣",
            "#️⃣ general",
            "🇫🇷",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
            "✌🏿",
            "☺︎",
            "葛\u{e0100}城",
            "می‌خواهم",
            "क्‍ष",
            "Αλέξης",
            "Иван Petrov",
            "Яndex",
            "Kenji 健",
            "ロシア語",
            "O’Hara",
            "שלום abc",
            "한국어",
            "ᠮᠣᠩᠭᠣᠯ",
        ] {
            assert!(
                Username::parse_new(name).is_ok(),
                "{name}: {:?}",
                Username::parse_new(name)
            );
        }
        for name in [
            "🏴\u{e0067}",
            "🏴\u{e007f}",
            "👩\u{200d}",
            "\u{200d}👩",
            "👩\u{200d}a",
            "5\u{fe0f}",
            "🏴\u{e0067}\u{e007f}\u{e0067}",
        ] {
            assert!(Username::parse_new(name).is_err(), "{name:?}");
        }
        let looks = |name| Username::parse(name).unwrap().skeleton().to_owned();
        assert_eq!(looks("❤️"), looks("❤"));
        assert_ne!(looks("🏴󠁧󠁢󠁥󠁮󠁧󠁿"), looks("🏴󠁧󠁢󠁳󠁣󠁴󠁿"), "England is not Scotland");
    }

    #[test]
    fn letters_of_another_script_do_not_pass_for_these() {
        let looks = |name| Username::parse(name).unwrap().skeleton().to_owned();
        for (name, like) in [
            ("Аnn", "Ann"),
            ("сосо", "coco"),
            ("ВОВ", "bob"),
            ("Ηι", "hi"),
            ("Αnn", "ANN"),
            ("O’Hara", "O'Hara"),
        ] {
            assert_eq!(looks(name), looks(like), "{name}");
        }
        for name in ["Аnn", "Αnn", "pаypal", "Toyоta"] {
            assert!(Username::parse_new(name).is_err(), "{name}");
        }
        // Programs number their users, and people are called Ian and Lan.
        for (one, other) in [
            ("user1", "userl"),
            ("Ian", "Lan"),
            ("modern", "modem"),
            ("u0", "uO"),
            ("é", "e"),
        ] {
            assert_ne!(looks(one), looks(other), "{one}");
        }
    }
}
