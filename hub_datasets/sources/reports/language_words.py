"""Lists the languages of reports with their names, and words by which short reports of each can be distinguished."""

from __future__ import annotations

# ISO 639-1 code: its names in English and in the language, and its codes of ISO 639-2.
NAMES = {
    "en": "eng english 英文 英语 英語",
    "zh": "zho chi cmn cn chinese 中文 汉语 漢語 国语 國語 普通话 mandarin",
    "ar": "ara arabic العربية",
    "bg": "bul bulgarian български",
    "bn": "ben bengali বাংলা",
    "ca": "cat catalan català",
    "cs": "ces cze czech čeština",
    "da": "dan danish dansk",
    "de": "deu ger german deutsch",
    "el": "ell gre greek ελληνικά",
    "es": "spa spanish español espanol castellano",
    "et": "est estonian eesti",
    "fa": "fas per persian farsi فارسی",
    "fi": "fin finnish suomi",
    "fr": "fra fre french français francais",
    "he": "heb iw hebrew עברית",
    "hi": "hin hindi हिन्दी",
    "hr": "hrv croatian hrvatski",
    "hu": "hun hungarian magyar",
    "hy": "hye arm armenian հայերեն",
    "id": "ind in indonesian",
    "it": "ita italian italiano",
    "ja": "jpn jp japanese 日本語 日语 日文",
    "ka": "kat geo georgian ქართული",
    "kk": "kaz kazakh қазақша",
    "ko": "kor kr korean 한국어 韩语 韩文",
    "lt": "lit lithuanian lietuvių",
    "lv": "lav latvian latviešu",
    "ms": "msa may malay",
    "nl": "nld dut dutch nederlands",
    "no": "nor nb nob nn norwegian norsk",
    "pl": "pol polish polski",
    "pt": "por portuguese português portugues",
    "ro": "ron rum romanian română",
    "ru": "rus russian русский",
    "sk": "slk slo slovak slovenčina",
    "sl": "slv slovenian slovenščina",
    "sr": "srp serbian srpski српски",
    "sv": "swe swedish svenska",
    "ta": "tam tamil தமிழ்",
    "te": "tel telugu తెలుగు",
    "th": "tha thai ไทย",
    "tr": "tur turkish türkçe turkce",
    "uk": "ukr ukrainian українська",
    "ur": "urd urdu اردو",
    "vi": "vie vietnamese tiếng",
    "und": "unknown undetermined",
}

# Words of radiology reports, without those that several of the languages share in the same spelling.
WORDS = {
    "en": "the is are with of and in on there was were has been seen without evidence noted within limits right"
    " left clear lungs lung heart chest size both mild small large unchanged stable acute effusion findings"
    " normal bone lobe upper lower x-ray knee spine brain lesion mass opacity pneumonia fracture disease free"
    " air or no focal acute osseous bony abnormality identified unremarkable interval change prior comparison"
    " silhouette moderate severe bilateral view",
    "de": "der die das und ist sind kein keine keinen nicht mit ohne im des bei zum beider beidseits rechts links"
    " rechten nach linken lunge herz nachweis unauffällig befund erguss normal große vergrößert regelrecht"
    " zeichen mäßig wirbelsäule",
    "fr": "le la les des du et est sont pas sans avec une dans au aux droite gauche droit poumon poumons cœur coeur"
    " épanchement absence normale normaux taille lésion foyer visible discret discrète pulmonaire à de d l",
    "es": "el los las se del y sin con una en la observa observan aprecia derrame derecho izquierdo derecha"
    " izquierda signos ni pulmón pulmones corazón normal tamaño hallazgos no lesión pulmonar leve ambos campos"
    " pulmonares",
    "pt": "o os as do da dos das sem com uma não em e pulmão pulmões coração direito esquerdo direita esquerda"
    " derrame dimensões normais sinais lesão aumento observa campos pulmonares à nos no na lobo ausência"
    " discreta discreto",
    "it": "il lo gli della del delle dei con non una nel nei è sono senza di polmone polmoni cuore destro sinistro"
    " destra sinistra versamento nella norma dimensioni lesioni aspetto segni evidenti ombra",
    "nl": "het een de van en geen zijn niet met zonder voor links rechts hart longen long normaal aanwijzingen"
    " pleuravocht linker rechter onderkwab bovenkwab beiderzijds vergroot ook wordt er",
    "pl": "nie jest bez w z oraz płuc płuca płucne serce serca zmian widoczne widoczny prawej lewej prawego lewego"
    " płyn jamie opłucnej cechy obraz prawidłowe po stronie ogniskowych granicach normy",
    "sv": "och är inte utan med ingen inga av på det den höger vänster hjärta hjärtat lungor lungorna lunga"
    " pleuravätska tre månader övre normalt som ses för förstorat sida tecken till",
    "da": "og er ikke uden med ingen af på det højre venstre hjerte hjertet lunger lungerne ses som pleuraeffusion i",
    "no": "og er ikke uten med ingen av på det høyre venstre hjerte hjertet lunger lungene ses som pleuravæske i",
    "tr": "ve bir ile izlenmedi izlenmektedir saptanmadı akciğer akciğerler kalp sağ sol normal plevral efüzyon yok"
    " hafif sıvı mevcuttur her iki alt üst lob boyutu doğal sınırlarda görülmedi",
    "ru": "и в не без на с по для при от не нет слева справа лёгких легких лёгкие легкие сердце не выявлено"
    " изменений тени признаков обычно расширены увеличено очаговых норме",
    "uk": "і в не без на з та немає легень легені серце змін ліворуч праворуч ознак",
    "bg": "и в не без на с се няма бял дроб сърце сърцето данни за изменения вдясно вляво е са",
    "fi": "ja ei ole on keuhkot keuhkoissa sydän oikea vasen oikealla vasemmalla normaali ilman nestettä",
    "cs": "a je bez na v plíce srdce vpravo vlevo výpotek není jsou nález normální oboustranně",
    "ro": "și este fără cu în nu sunt pulmonar plămân dreapta stânga cord lichid normal",
    "hu": "a az és nem nincs jobb bal tüdő szív normális folyadék látható mellkas",
    "vi": "không có và phổi tim bình thường bên phải trái tràn dịch màng",
    "id": "dan tidak ada dengan paru jantung kanan kiri normal tampak efusi",
}
