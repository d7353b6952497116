"""A page in the browser to convert speech and to speak text (`vocolab demo`).

`limits`, `results`, `conversion` and `speaking` do the work and know no Gradio; `page` and the two tabs show it;
`server` opens and closes it.
"""
