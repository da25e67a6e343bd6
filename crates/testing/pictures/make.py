"""Makes the pictures of this folder from those of Debian's package openclipart-png.

    apt-get download openclipart-png && dpkg-deb --extract openclipart-png_*.deb FOLDER
    python make.py FOLDER/usr/share/openclipart/png

Needs Pillow (13.0.0 made those that are committed). Composed over white, at most 160 pixels a side,
JPEG of quality 85. The last six of each class are for testing.
"""

import sys
from pathlib import Path

from PIL import Image

SIDE = 160
TEST = 6

SOURCES = {
    "bird": [
        "animals/birds/acquila_architetto_franc_01.png",
        "animals/birds/aquila_frontale_architet_01.png",
        "animals/birds/bird_of_peace_mauro_oliv_01.png",
        "animals/birds/cigno_architetto_frances_01.png",
        "animals/birds/cigno_di_spalle_architet_01.png",
        "animals/birds/cormorant-md.png",
        "animals/birds/crow_01.png",
        "animals/birds/duck_yellow_kurt_cagle_.png",
        "animals/birds/flamand_jean-victor_bali_01.png",
        "animals/birds/gabbiano_architetto_fran_01.png",
        "animals/birds/gallo_di_profilo_archite_01.png",
        "animals/birds/hen_01.png",
        "animals/birds/owl_on_branch_ganson.png",
        "animals/birds/pollo_architetto_frances_01.png",
        "animals/birds/simbolo_egizio_architett_01.png",
        "animals/birds/uccello_profilo_01_archi_01.png",
        "animals/birds/emperor_penguin_ralf_ste_01.png",
        "animals/birds/gufo_civetta_architetto__01.png",
        "animals/birds/gull_marcelo_staudt_01.png",
        "animals/birds/jonathon_s_duck_01.png",
        "animals/birds/puffin-md.png",
        "animals/birds/uccello_bianco_e_nero_ar_01.png",
    ],
    "fruit": [
        "food/fruit/another_apple_01.png",
        "food/fruit/apple_wedge.png",
        "food/fruit/banana.png",
        "food/fruit/cherries.png",
        "food/fruit/grape_01.png",
        "food/fruit/grapes_simple.png",
        "food/fruit/green_pear_01.png",
        "food/fruit/la_prugna_architetto_fra_01.png",
        "food/fruit/lemon.png",
        "food/fruit/lemon_whole_ganson.png",
        "food/fruit/lime_half_ganson.png",
        "food/fruit/orange_wedge.png",
        "food/fruit/pasteque_01.png",
        "food/fruit/pear.png",
        "food/fruit/pineapple.png",
        "food/fruit/strawberry_simple.png",
        "food/fruit/cherry_jonathan_dietrich_01.png",
        "food/fruit/melon_goneri_le_bouder_01.png",
        "food/fruit/orange.png",
        "food/fruit/pesca_architetto_frances_01.png",
        "food/fruit/strawberry.png",
        "food/fruit/watermelon_simple.png",
    ],
    "insect": [
        "animals/bugs/ant.png",
        "animals/bugs/bee.png",
        "animals/bugs/bug_nicu_buculei_01.png",
        "animals/bugs/butterfly_jonathan_dietr_01.png",
        "animals/bugs/butterfly_jonvdveen_01.png",
        "animals/bugs/cavalletta_architetto_fr_01.png",
        "animals/bugs/coccinella_architetto_fr_01.png",
        "animals/bugs/farfalla_contorno_archit_01.png",
        "animals/bugs/farfalla_semplice_archit_01.png",
        "animals/bugs/fly_01.png",
        "animals/bugs/flying_wasp_gerald_g._01.png",
        "animals/bugs/formicona_architetto_fra_01.png",
        "animals/bugs/libellula_architetto_fra_01.png",
        "animals/bugs/mante_religieuse_01.png",
        "animals/bugs/moschito_architetto_fran_01.png",
        "animals/bugs/moschito_stecchito_archi_01.png",
        "animals/bugs/damselfly_leigh_purdie_r.png",
        "animals/bugs/farfalla_butterfly_fra1.png",
        "animals/bugs/grass_hopper_02.png",
        "animals/bugs/ladybug_01.png",
        "animals/bugs/mantide_religiosa_archit_01.png",
        "animals/bugs/punaisa_01.png",
    ],
}


def small(path):
    """The picture over white, no side longer than SIDE."""
    picture = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    white = white.convert("RGB")
    white.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return white


def main():
    source, target = Path(sys.argv[1]), Path(__file__).parent
    for kind, paths in SOURCES.items():
        for n, path in enumerate(paths):
            split = "test" if n >= len(paths) - TEST else "train"
            folder = target / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            small(source / path).save(folder / f"{Path(path).stem}.jpg", quality=85)


main()
