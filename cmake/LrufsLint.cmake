# Layer rules: part of every full build and of ctest. Format: ctest only.
if(Python3_Interpreter_FOUND)
  add_custom_target(check_layers ALL
    COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/scripts/check_layers.py" --quiet "${PROJECT_SOURCE_DIR}"
    COMMENT "Checking the layers" VERBATIM)
  add_test(NAME lint.layers
    COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/scripts/check_layers.py" "${PROJECT_SOURCE_DIR}")
  add_test(NAME lint.layers_selftest
    COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/scripts/check_layers_selftest.py")
  set_tests_properties(lint.layers lint.layers_selftest PROPERTIES LABELS lint TIMEOUT 60)
else()
  message(WARNING "lrufs: no python3, so the layer rules are not checked")
endif()
add_test(NAME lint.format COMMAND "${PROJECT_SOURCE_DIR}/scripts/check_format.sh")
set_tests_properties(lint.format PROPERTIES LABELS lint TIMEOUT 120 SKIP_RETURN_CODE 77)
