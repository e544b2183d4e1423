"""Text from pictures: an optional extra (`pip install waybill[ocr]`), without network.

`engine` recognises lines with rapidocr, `page_layout` puts them in reading order, `pictures` opens image files,
`pages` reads the pages of one document within its limits.
"""
