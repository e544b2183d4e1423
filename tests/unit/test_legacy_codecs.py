"""The codec of text that is not UTF-8: right for a few sentences in each language and codec, and honest in doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.filetype.text import text_encoding
from tasks.conversion.plain.encodings import find_encoding
from tasks.conversion.plain.legacy_codecs import MAX_SAMPLE_BYTES, guess

TEXTS = {
    "fr": "Le café de la gare a fermé en février. La vieille crémaillère a été renouvelée à la fin de l'été.",
    "fr with signs": "L’été, le café « du port » – où était-il ? – fermait à 5 h… Il coûte 48 000 francs.",
    "de": "Die Zahnradbahn fährt über den Fluß; die Häuser sind groß. Überall blühen schöne Bäume.",
    "es": "El año pasado la señora Muñoz pagó 1.250 pesetas. ¿Cuándo llegará el próximo tren?",
    "pt": "A estação não está aberta; a reunião será às três horas. Informação: o coração da região.",
    "it": "La città è più bella così. Perché non verrà lunedì? L'attività sarà già finita.",
    "sv": "Tåget går över ån på lördag. Åke och Örjan äter räksmörgås på stationen.",
    "da": "Færgen går fra Ærø til Århus på søndag. Prisen er på tre kroner for børn.",
    "nl": "De geïnteresseerde reizigers uit België zijn één uur te laat. Zoë heeft coördinaten.",
    "pl": "Pociąg odjeżdża o świcie. Źle się czuł, lecz pojechał dalej: żółta łódź płynęła środkiem rzeki.",
    "cs": "Vlak přijede v pět hodin. Příští zastávka je u řeky, kde žije starý hlídač. Kůň běžel přes louku.",
    "hu": "A vonat öt órakor érkezik. Az őr a hídnál áll, és nézi a folyót. Üdvözlöm a gyűlést.",
    "ro": "Trenul soseşte la ora cinci. Ţara şi oraşul aşteaptă; în gară sînt mulţi călători.",
    "hr": "Vlak dolazi u pet sati. Čuvar stoji kod mosta i gleda rijeku. Šuma je žuta, a đak uči.",
    "tr": "Tren saat beşte geliyor. Köprünün yanında duran bekçi nehre bakıyor. Şehir çok güzel.",
    "ru": "Поезд прибывает в пять часов. Сторож стоит у моста и смотрит на реку. Цена выросла на три рубля.",
    "uk": "Потяг прибуває о п'ятій годині. Сторож стоїть біля мосту і дивиться на річку. Ціна зросла, їжа ґречна.",
    "bg": "Влакът пристига в пет часа. Пазачът стои до моста и гледа реката. Цената се повиши с три лева.",
    "el": "Το τρένο φτάνει στις πέντε. Ο φύλακας στέκεται στη γέφυρα και κοιτάζει το ποτάμι.",
    "he": "הרכבת מגיעה בשעה חמש. השומר עומד ליד הגשר ומביט בנהר. המחיר עלה.",
    "ar": "يصل القطار في الساعة الخامسة. يقف الحارس عند الجسر وينظر إلى النهر. ارتفع السعر.",
    "ja": "列車は五時に着きます。番人は橋のそばに立って川を見ています。料金は三百円上がりました。",
    "zh": "火车五点到达。看守人站在桥边看着河水。票价上涨了三元。会议决定明年更换齿条。",
    "zh-Hant": "火車五點到達。看守人站在橋邊看著河水。票價上漲了三元。會議決定明年更換齒條。",
    "ko": "기차는 다섯 시에 도착합니다. 경비원은 다리 옆에 서서 강을 봅니다. 요금이 올랐습니다.",
    "th": "รถไฟมาถึงเวลาห้าโมง ยามยืนอยู่ข้างสะพานและมองดูแม่น้ำ ราคาเพิ่มขึ้น",
}
CODECS = {
    **dict.fromkeys(("fr", "de", "es", "it", "sv"), "cp1252 mac_roman cp850 cp437"),
    "fr with signs": "cp1252 mac_roman",
    "pt": "cp1252 mac_roman cp850",
    "nl": "cp1252 mac_roman cp850",
    "da": "cp1252 mac_roman cp850 cp865",
    "ro": "cp1250 iso8859_2",
    "tr": "cp1254 iso8859_9 cp857",
    **dict.fromkeys(("pl", "cs"), "cp1250 iso8859_2 cp852 mac_latin2"),
    "hu": "cp1250 iso8859_2 cp852",
    "hr": "cp1250 iso8859_2 cp852",
    "ru": "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic",
    "uk": "cp1251 koi8_u mac_cyrillic",
    "bg": "cp1251 iso8859_5 cp866",
    "el": "cp1253 iso8859_7 cp737",
    "he": "cp1255 iso8859_8",
    "ar": "cp1256 iso8859_6",
    "ja": "cp932 euc_jp",
    "zh": "gb18030 gb2312",
    "zh-Hant": "big5 gb18030",
    "ko": "cp949 euc_kr",
    "th": "cp874",
}
PAIRS = [(language, codec) for language, codecs in CODECS.items() for codec in codecs.split()]


@pytest.mark.parametrize(("language", "codec"), PAIRS)
def test_a_few_sentences_are_enough(language: str, codec: str):
    text = TEXTS[language]
    found = guess(f"plain words before it\n{text}\n".encode(codec))
    assert found is not None
    assert text.encode(codec).decode(found.codec) == text


@pytest.mark.parametrize(
    "text", ["café", "“Yes,” she said – it’s 5 °C", "• one\n• two", "MÜNCHEN", "½ cup", "£5", "5 €"]
)
def test_little_text_is_in_the_codec_that_most_files_have(text: str):
    found = guess(text.encode("cp1252"))
    assert found is not None
    assert text.encode("cp1252").decode(found.codec) == text


def test_a_drawing_is_one():
    text = "┌──┬──┐\n│ a │ b │\n└──┴──┘"
    found = guess(text.encode("cp437"))
    assert found is not None
    assert text.encode("cp437").decode(found.codec) == text


def test_the_end_of_the_sample_may_cut_a_character():
    for blanks in range(4):
        found = guess((" " * blanks + TEXTS["ja"] * MAX_SAMPLE_BYTES).encode("cp932"))
        assert found is not None
        assert found.codec == "cp932"


def test_a_guess_between_two_names_both(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes("Trenul ş".encode("iso8859_2"))
    (warning,) = find_encoding(path).warnings
    assert "guessed" in warning
    assert "nearly as likely" in warning
    path.write_bytes(TEXTS["de"].encode("cp1252"))
    (warning,) = find_encoding(path).warnings
    assert warning.endswith("read as cp1252")


def test_japanese_in_seven_bits_is_no_ascii(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXTS["ja"].encode("iso2022_jp"))
    assert path.read_bytes().isascii()
    assert find_encoding(path).codec == "iso2022_jp"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", TEXTS)
def test_utf16_needs_no_mark(language: str, codec: str):
    assert text_encoding(f"{TEXTS[language]}\n".encode(codec)) == codec
