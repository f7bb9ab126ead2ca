/* Stands in for libnvinfer, libnvonnxparser and libnvinfer_plugin, so that TensorRT's Python bindings drive the parser and
   compiler of TensorRT-RTX, which come in a wheel and need no GPU. The entry points are alike; each checks the version of
   its caller, so the version handed on is the library's own. Built once under each name, see install_tensorrt_builder.sh. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

typedef void *any;

static any find(const char *library, const char *name)
{
    any opened = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    any found = opened ? dlsym(opened, name) : NULL;
    if (!found)
        fprintf(stderr, "tensorrt builder: %s\n", dlerror());
    return found;
}

static any compiler(const char *name) { return find("libtensorrt_rtx.so.1", name); }
static any parser(const char *name) { return find("libtensorrt_onnxparser_rtx.so.1", name); }

static int version(void)
{
    int (*ask)(void) = (int (*)(void))compiler("getInferLibVersion");
    return ask ? ask() : 0;
}

/* made by one object (logger) or two (network or engine, and logger) */
#define FROM_ONE(where, name) \
    any name(any a, int v) { any (*f)(any, int) = (any (*)(any, int))where(#name); (void)v; return f ? f(a, version()) : NULL; }
#define FROM_TWO(where, name) \
    any name(any a, any b, int v) { any (*f)(any, any, int) = (any (*)(any, any, int))where(#name); (void)v; return f ? f(a, b, version()) : NULL; }

FROM_ONE(compiler, createInferBuilder_INTERNAL)
FROM_ONE(compiler, createInferRuntime_INTERNAL)
FROM_TWO(compiler, createInferRefitter_INTERNAL)
FROM_TWO(parser, createNvOnnxParser_INTERNAL)
FROM_TWO(parser, createNvOnnxParserRefitter_INTERNAL)

any getPluginRegistry(void)
{
    any (*f)(void) = (any (*)(void))compiler("getPluginRegistry");
    return f ? f() : NULL;
}

any getBuilderPluginRegistry(int capability)
{
    any (*f)(int) = (any (*)(int))compiler("getBuilderPluginRegistry");
    return f ? f(capability) : NULL;
}

int getNvOnnxParserVersion(void)
{
    int (*f)(void) = (int (*)(void))parser("getNvOnnxParserVersion");
    return f ? f() : 0;
}

int initLibNvInferPlugins(any log, const char *name_space)
{
    (void)log;
    (void)name_space;
    return 1;
}
