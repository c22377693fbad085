"""The words of the dashboard in English and Korean. English is the key, so a missing one is found by a test."""

from collections.abc import Callable, Mapping

LANGUAGES = ("en", "ko")

KOREAN: Mapping[str, str] = {
    "95 % of runs within": "실행 시간(95 %)",
    "A certificate of host.ca_file ends on {:%Y-%m-%d}": "host.ca_file의 인증서가 {:%Y-%m-%d}에 끝납니다",
    "Captchas that wait for a person ({}): {}": "사람이 풀어야 할 캡차({}건): {}",
    "Logins expired ({}): {}": "만료된 로그인({}건): {}",
    "A run does not end: {}": "실행이 끝나지 않습니다: {}",
    "A run waits for too long: {}": "실행이 너무 오래 기다립니다: {}",
    "A schedule was missed: {}": "일정을 놓쳤습니다: {}",
    "No captcha for an hour": "한 시간 동안 캡차가 없었습니다",
    "No login was refused for an hour": "한 시간 동안 로그인 실패가 없었습니다",
    "No restore drill has passed for too long": "복원 훈련이 너무 오래 통과하지 못했습니다",
    "No run has failed for an hour": "한 시간 동안 실패한 실행이 없습니다",
    "No run was interrupted for an hour": "한 시간 동안 중단된 실행이 없습니다",
    "Skyvern does not answer": "Skyvern이 응답하지 않습니다",
    "The backup has a problem: see ops status": "백업에 문제가 있습니다. ops status를 보십시오",
    "The certificate of the UI's address ends on {:%Y-%m-%d}": "UI 주소의 인증서가 {:%Y-%m-%d}에 끝납니다",
    "The database does not answer": "데이터베이스가 응답하지 않습니다",
    "The disk is nearly full": "디스크가 거의 찼습니다",
    "The images are older than 90 days: look for new versions (ops images list)": (
        "이미지가 90일보다 오래되었습니다. 새 버전을 확인하십시오(ops images list)"
    ),
    "The last restore drill could not run": "마지막 복원 훈련을 할 수 없었습니다",
    "The last restore drill failed": "마지막 복원 훈련이 실패했습니다",
    "; a backup has been made since": ". 그 뒤에 백업이 만들어졌습니다",
    "The machine was off {:%m-%d %H:%M} to {:%m-%d %H:%M}": "컴퓨터가 {:%m-%d %H:%M}부터 {:%m-%d %H:%M}까지 꺼져 있었습니다",
    "The machine was off {:%H:%M} to {:%H:%M}": "컴퓨터가 {:%H:%M}부터 {:%H:%M}까지 꺼져 있었습니다",
    "The backup": "백업",
    "The connector": "커넥터",
    "The egress proxy": "이그레스 프록시",
    "The gateway": "게이트웨이",
    "The monitor": "모니터",
    "The newest backup is too old": "가장 최근 백업이 너무 오래되었습니다",
    "The recovery kit is older than a secret: ops backup kit makes a new one": (
        "복구 키트가 비밀 값보다 오래되었습니다. ops backup kit으로 새로 만드십시오"
    ),
    "There has never been a backup": "백업이 한 번도 만들어지지 않았습니다",
    "There is no recovery kit: ops backup kit makes it": "복구 키트가 없습니다. ops backup kit으로 만드십시오",
    "This is a test": "시험 메시지입니다",
    "Well again: {}": "해결됨: {}",
    "and {} more": "외 {}건",
    "Failed runs ({}): {}": "실패한 실행({}건): {}",
    "Runs interrupted by a stop of the server ({}): {}": "서버가 멈춰 중단된 실행({}건): {}",
    "All results": "모든 결과",
    "All workflows": "모든 워크플로",
    "All runs": "모든 실행",
    "Apply": "적용",
    "Automation": "자동화 현황",
    "Backup": "백업",
    "CSV": "CSV",
    "Canceled": "취소됨",
    "Category": "분류",
    "Code": "코드",
    "Completed": "완료",
    "Cost": "비용",
    "Cost and tokens": "비용과 토큰",
    "Day": "날짜",
    "Disk": "디스크",
    "Ended": "종료 시각",
    "Enabled": "사용",
    "Failed": "실패",
    "Failures": "실패한 실행",
    "Input tokens": "입력 토큰",
    "Interrupted by a stop of the server": "서버 중단으로 끝남",
    "Last run": "마지막 실행",
    "Last backup": "마지막 백업",
    "Last restore drill": "마지막 복원 훈련",
    "Machine": "시스템",
    "Median duration": "실행 시간 중앙값",
    "Median wait": "대기 시간 중앙값",
    "Missed": "놓친 실행",
    "Model": "모델",
    "Name": "이름",
    "Next tick": "다음 예정",
    "No failures.": "실패한 실행이 없습니다.",
    "No model was asked.": "모델을 호출하지 않았습니다.",
    "No runs in this period.": "이 기간에는 실행이 없습니다.",
    "No schedules.": "일정이 없습니다.",
    "Output tokens": "출력 토큰",
    "Period": "기간",
    "Result": "결과",
    "Run": "실행",
    "Runs": "실행",
    "Runs by day": "일별 실행",
    "Saved time": "절약한 시간",
    "Schedules": "일정",
    "Skip to the content": "본문으로 건너뛰기",
    "Skyvern has not made its tables yet. This page works once the server has started.": (
        "Skyvern이 아직 테이블을 만들지 않았습니다. 서버가 시작된 뒤에 볼 수 있습니다."
    ),
    "Smoke tests": "스모크 테스트",
    "Success rate": "성공률",
    "Terminated": "종료됨",
    "The database does not answer. This page tries again when you reload it.": (
        "데이터베이스가 응답하지 않습니다. 새로고침하면 다시 시도합니다."
    ),
    "The database of this version of Skyvern has another form than this page knows.": (
        "이 버전의 Skyvern은 데이터베이스 형식이 이 페이지가 아는 것과 다릅니다."
    ),
    "The newest {} are shown.": "최근 {}건만 보여 줍니다.",
    "Time zone": "시간대",
    "Timed out": "시간 초과",
    "Today": "오늘",
    "Unfinished": "진행 중",
    "Version": "버전",
    "Version of Skyvern": "Skyvern 버전",
    "Why": "이유",
    "Workflow": "워크플로",
    "Workflows": "워크플로",
    "Whose runs": "실행 구분",
    "Your runs": "내 실행",
    "at least {}": "{} 이상",
    "canceled": "취소됨",
    "completed": "완료",
    "created": "생성됨",
    "deleted workflow": "삭제된 워크플로",
    "failed": "실패",
    "free": "남음",
    "never": "없음",
    "no": "아니요",
    "none": "없음",
    "not set up": "설정되지 않음",
    "older than allowed": "허용 기간보다 오래됨",
    "paused": "일시 중지됨",
    "queued": "대기 중",
    "running": "실행 중",
    "sort by {}": "{} 기준 정렬",
    "terminated": "종료됨",
    "timed_out": "시간 초과",
    "unknown": "알 수 없음",
    "yes": "예",
    "{} days": "{}일",
    "{} restarts again and again": "자꾸 다시 시작됩니다: {}",
    "{} h {:02} min": "{}시간 {:02}분",
    "{} min {:02} s": "{}분 {:02}초",
    "{} s": "{}초",
}

Say = Callable[[str], str]


def translator(language: str) -> Say:
    """The words of a language; English for any but ``ko``, ``browser`` included."""
    return KOREAN.__getitem__ if language == "ko" else str


def choose(setting: str, asked: str | None, accepted: str) -> str:
    """The language of a page. setting: ``en``, ``ko`` or ``browser``. asked: by the address. accepted: the browser's header."""
    if asked in LANGUAGES:
        return asked
    if setting in LANGUAGES:
        return setting
    # In the order of the header; weights are in that order in every browser.
    wanted = (part.partition(";")[0].strip().lower()[:2] for part in accepted.split(","))
    return next((language for language in wanted if language in LANGUAGES), "en")
