"""Words with a full stop that seldom or never end a sentence, by language; data only."""

from __future__ import annotations

# A sentence never ends with these: what they belong to comes after them.
_OPEN = """
sect dr mr mrs ms mx prof st mt rev hon sen rep gov gen col lt sgt capt vs viz cf e.g i.e fig figs eq no nos vol pp
art para sec
ch app approx ca al ed eds cp resp incl excl dept est
nr nrn abs art ziff kap abb tab anm bd bzw vgl evtl ggf inkl exkl zzgl abzgl hr hrn fr frl dipl ing mag geb gest str
allg bes
bspw sog vors stv st u.a z.b d.h i.d.r s.o s.u v.a o.ä kundennr artikelnr rechnungsnr usf rn rz hrsg tsd mio mrd jh
max min
m mm mme mmes mlle mlles me mgr sté ets cie env réf éd chap fasc p.ex c.-à-d av boul bd tél
sig sig.ra sigg dott dott.ssa avv ing arch geom prof.ssa on rag spett egr gent pag pagg cap cfr es n nn tel sec ecc
sr sra sres sras srta d da dña dra drs lic ud uds pág págs núm núms párr aprox tel ej avda ctra dpto excmo prov
dhr mevr mw mej ir drs ds blz bijv enz jl resp d.w.z o.a o.m t.a.v i.p.v m.n a.u.b nl fa
godz ul al pl os św im inż mgr hab dyr prof gen ks red tzn tzw np m.in dr ust pkt poz zob por tj itp itd wg ok tys
mln mld
proc nr
"""
OPEN = frozenset(_OPEN.split())

# A sentence may end with these; it does if a word that begins sentences follows.
_CLOSABLE = """
inc ltd co corp bros jr sr etc esq plc llc a.m p.m u.s u.k u.n ph.d m.d b.a m.a st ave blvd rd dept
usw u.a.m e.v gmbh z.t p.a n.chr v.chr ua uvm uw
etc s.a s.a.r.l apr av.j
ecc s.p.a s.r.l s.n.c s.a.s a.c d.c
s.l ee.uu uu
enz b.v n.v vof
r w zł itd itp cd
com adm ltda cía
jan feb mar apr jun jul aug sep sept oct okt nov dec dez janv févr avr juil déc gen febbr ott dic ene abr ago
"""
CLOSABLE = frozenset(_CLOSABLE.split()) - {"mar"}

# Words as well as abbreviations, or abbreviations that a sentence may end with after all.
WORDS_TOO = frozenset("no art on es da d nl al ok im os min max fig ch est me tsd mio mrd jh mln mld tys".split())  # noqa: SIM905
# After these a number is a name, and no ordinal: "Nr. 5."
LABELS = frozenset("nr nrn abs art ziff kap abb tab str no fig ust poz".split())  # noqa: SIM905
# Both a unit and an abbreviation: after a number it is the unit.
UNITS = frozenset(("m", "mm", "min", "max", "r", "w", "zł", "st"))

# Words that begin sentences, with their capital.
_STARTERS = """
The A An This That These Those It Its He She They We You I In On At For From With By As If When While After Before
Since
During Until To Of Both All Each Every Some Many Most No Not There Here However Thus Then Therefore But And Or Our
Your My
His Her Their One Two Three What Who How Why Where Please See Under Over Between Such Other Another
Der Die Das Den Dem Des Ein Eine Einer Eines Er Sie Es Wir Ich Ihr Man Im Am An Auf Aus Bei Beim Bis Mit Nach Seit
Vom Von
Vor Zu Zum Zur Durch Für Gegen Ohne Um Unter Über Als Da Damit Dann Danach Dabei Dafür Daher Deshalb Doch Wenn Weil
Während
Wer Was Wo Wie Und Oder Aber Auch Nur So Alle Diese Dieser Dieses Jede Jeder Jedes Sein Seine Ihre Unser Unsere Kein
Keine
Beide Hier Dort Heute Siehe Laut Gemäß Bitte
Le La Les L' Un Une Des Du Ce Cet Cette Ces Il Elle Ils Elles On Nous Vous Je En Dans Sur Sous Pour Par Avec Sans
Depuis
Selon Après Avant Mais Et Ou Si Son Sa Ses Leur Leurs Notre Nos Votre Vos Au Aux À Chaque
Il Lo Gli Uno Una Questo Questa Questi Queste Nel Nella Nei Negli Dal Dalla Dai Del Della Dei Al Alla Con Per Tra
Fra Dopo
Prima Se Ma Anche Non Secondo Si È Ogni
El Los Las Unos Unas Este Esta Estos Estas Ese Esa Desde Según Con Por Para Sin Sobre Tras Entre Pero Y O Cada No Su
Sus
De Het Een Dit Deze Die Dat Er Hij Zij Ze We Wij Ik Op Bij Met Voor Van Naar Tot Sinds Volgens Na Om Door Maar Als
Elk Elke
W We Z Ze Na Do Od Po Przy Ten Ta To Te Ci On Ona Ono Oni Nie I A Ale Czy Jest Są Każdy
"""
STARTERS = frozenset(_STARTERS.split())

# Before a number with a full stop: it is an ordinal ("im 3. Quartal", "die 1. Klasse").
_BEFORE_ORDINAL = """
der die das den dem des am im vom zum zur beim bis ab seit ein eine einer einem einen jede jeder jedes jeden und
oder von ihr
ihre ihren sein seine seinen unser unsere mein meine dein deine dieser diese dieses diesem diesen in auf
"""
BEFORE_ORDINAL = frozenset(_BEFORE_ORDINAL.split())
# Languages that write ordinals with a full stop.
ORDINAL_LANGUAGES = frozenset("de lb da nb nn no fi et cs sk sl hr sr bs hu pl lv lt tr is".split())  # noqa: SIM905
