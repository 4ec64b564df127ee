// Names, where one could pass for another: what cannot be seen is shown as its code, and letters that look like those of
// another script are said. The server takes rooms by any name; who reads it should know which one it is.

const CODES = /[\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\u2800\ufff9-\ufffc]|(?! )\p{Zs}/u;
/** What joins emoji to one, picks their form, or makes a flag of a flag. */
const OF_EMOJI = /[\u200d\ufe0e\ufe0f\u{e0020}-\u{e007f}]/u;
const SCRIPTS = ["Latin", "Cyrillic", "Greek", "Armenian", "Cherokee"].map((name) => [name, new RegExp(`\\p{Script=${name}}`, "u")]);
/** Letters of Cyrillic and Greek that a word of Latin can be spelled with. */
const LIKE_LATIN = /^[асеһіјорԛѕԝухԁАВСЕНІЈКМОРԚЅТԜХУαικνορτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ]+$/u;
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

function* pieces(name) {
  for (const { segment, index } of graphemes.segment(name)) {
    const emoji = /[\p{Extended_Pictographic}\u20e3]/u.test(segment) && !segment.endsWith("\u200d");
    const bare = segment === " " && (!index || index === name.length - 1 || name[index - 1] === " ");
    for (const char of segment) yield { char, hidden: bare || (CODES.test(char) && !(emoji && OF_EMOJI.test(char))) };
  }
}

/** What a reader should know of the letters of a name, or "". */
function letters(name) {
  for (const word of name.split(/[^\p{L}\p{M}\p{N}]+/u)) {
    const scripts = SCRIPTS.filter(([, letter]) => letter.test(word)).map(([script]) => script);
    if (scripts.length > 1 || LIKE_LATIN.test(word)) return scripts.join(" + ");
    if (word.normalize("NFKC") !== word) return "unusual letters";
  }
  return "";
}

/** Shows a name in `element`. */
export function showName(element, name) {
  const mark = (kind, text) => {
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = text;
    return span;
  };
  const shown = [];
  let plain = "";
  for (const { char, hidden } of pieces(name)) {
    if (!hidden) plain += char;
    else {
      shown.push(plain, mark("code", `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`));
      plain = "";
    }
  }
  const said = letters(name);
  element.replaceChildren(...shown, plain, ...(said ? [mark("script", said)] : []));
}
