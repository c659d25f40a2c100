# llama.cpp itself, which a process without Winnow runs on a file through the package `llama-cpp-python`.


def engine(file):  # type: ignore[no-untyped-def]
    import ctypes
    import os

    import llama_cpp as cpp
    import numpy

    cpp.llama_backend_init()
    silent = cpp.llama_log_callback(lambda level, text, data: None)
    cpp.llama_log_set(silent, ctypes.c_void_p(0))
    model = cpp.llama_model_load_from_file(file.encode(), cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp does not load {os.path.basename(file)}")
    size = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(model))

    def context(length):
        params = cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = length
        params.n_threads = params.n_threads_batch = int(os.environ.get("OMP_NUM_THREADS", "1"))
        # Keys and values as they are computed: 16 bits would be this run's choice, and not the file's.
        params.type_k = params.type_v = cpp.GGML_TYPE_F32
        params.flash_attn_type = cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return cpp.llama_init_from_model(model, params)

    def read(into, tokens, start):
        batch = cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = int(token), start + place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
        failed = cpp.llama_decode(into, batch)
        cpp.llama_batch_free(batch)
        if failed:
            raise SystemExit(f"llama.cpp ends with {failed} on {len(tokens)} tokens of {os.path.basename(file)}")
        return numpy.ctypeslib.as_array(cpp.llama_get_logits(into), (len(tokens), size)).copy()

    def logits(tokens):
        one = context(len(tokens))
        found = read(one, tokens, 0)
        cpp.llama_free(one)
        return found

    def run(ids, mask=None):
        return numpy.stack([logits(text) for text in ids])

    def continued(prompt, count):
        one, tokens, given = context(len(prompt) + count), [], prompt
        for step in range(count):
            found = read(one, given, 0 if step == 0 else len(prompt) + step - 1)
            tokens.append(int(found[-1].argmax()))
            given = tokens[-1:]
        cpp.llama_free(one)
        return tokens

    run.generate = lambda prompts, count: numpy.array([continued(prompt, count) for prompt in prompts])
    context.log = silent  # llama.cpp calls it as long as the model lives, and whoever keeps one of these may ask it
    return run
