"""The preparation: it makes shards of the files of a corpus.

Each stage cuts its work into items. A finished item is a folder `SHARDS/.work/STAGE/ITEM` that appears at once and
whole; an unfinished one lies under `.work/tmp` and is done again from its start. Stages in brackets are left out where
the preparation lacks the part.

    corpus                    the list of files, their headers read, divided into units of one speaker
      │  scan.py              → .work/scan/all            rank 0 alone
      ▼
    [codec not fitted yet]    codebooks learnt from the training split
      │  fit.py               → .work/fitted/codec        rank 0 alone
      ▼
    unit after unit           audio, features or codes, symbols of the text; unusable files with the reason
      │  encode.py            → .work/encoded/NNNNNN      all ranks
      ▼
    [prematch]                the places of each frame's nearest neighbours in the pool of its speaker
      │  prematch.py          → .work/matched/NNNNNN      all ranks; the pool is what was encoded
      ▼
    shard after shard         the tar, moved to SHARDS/SPLIT/, and the rows of its index
      │  pack.py              → .work/packed/SPLIT-shard-NNNNNN    all ranks, which divide the same layout
      ▼
    the shards are finished   the index, the codec's state, last of all the manifest; .work is removed
         finish.py            → index/, codec.safetensors, manifest.json    rank 0 alone

Who does what: item i of a stage falls to rank i mod world, and the workers of a rank's crew (crew.py) divide its items.
No stage begins before all items of the one before are there: each rank looks for them in the folder, which is all that
ranks share. A rank that waits gives up when no rank has left a sign of life (`.work/beats`) for a while (progress.py).
Two preparations of one folder on one machine take turns by a lock (work.py).

How a killed run goes on: the next one reads the list in `.work/scan`, refuses another spec, and does the items that are
not there. Which files make a unit, and which utterances a shard, depends on the corpus and the spec alone, so the bytes
are the same however often a run was killed and however many workers and ranks there are.

    prepare.py  the order of the stages         spec.py  what is to be made          notes.py  lines for the user
    spelling.py  which symbols training knows   work.py  the folder `.work`
    given.py    features that lie on the disk already
"""
