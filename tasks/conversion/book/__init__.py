"""Books (EPUB, FictionBook) as one tree of HTML, which is written as a page is."""
