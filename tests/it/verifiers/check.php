<?php
require __DIR__ . '/verify.php';
$taken = function (array $case): bool {
    try {
        verify($case['secret'], $case['headers'], $case['body'], $case['now']);
        return true;
    } catch (RuntimeException) {
        return false;
    }
};
echo json_encode(array_map($taken, json_decode(stream_get_contents(STDIN), true)));
