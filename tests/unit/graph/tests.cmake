dt_test(graph / graph_test WRAP calloc) dt_test(graph / shapes_test) dt_test(graph / gradient_test)
    dt_test(graph / plan_test) dt_test(graph / passes_test)
